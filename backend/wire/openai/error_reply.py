"""Writes an error the way OpenAI's routes do: an object under `error`, whose `type` follows from the status."""

from collections.abc import Mapping

from backend.core.errors import GatewayError
from backend.wire.jsontext import encode_json

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


def write_error(error: GatewayError) -> bytes:
    """Return the JSON body of an error; `param` and `code` are there and null, as clients' types want them."""
    told = {"message": error.message, "type": _TYPES.get(error.status, "api_error"), "param": None, "code": None}
    return encode_json({"error": told})
