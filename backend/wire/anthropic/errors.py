"""Writes an error the way the messages API does: an object whose `error.type` follows from the status."""

from collections.abc import Mapping

from backend.core.errors import GatewayError
from backend.wire.jsontext import encode_json

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Return the JSON body of an error; the id is the one in the log and in `x-request-id`."""
    told = {"type": _TYPES.get(error.status, "api_error"), "message": error.message}
    return encode_json({"type": "error", "error": told, "request_id": f"req_{request_id}"})
