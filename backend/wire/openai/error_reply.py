"""Writes an error the way OpenAI's routes do: an object under `error`, whose `type` follows from the status."""

from collections.abc import Mapping

from backend.core.errors import GatewayError, QuotaExceeded
from backend.wire.jsontext import encode_json

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


_QUOTA = "insufficient_quota"
"""Type and code by which clients tell a quota from a request too many."""


def write_error(error: GatewayError) -> bytes:
    """Return the JSON body of an error; `param` is there and null, and so is `code` mostly, as clients' types want."""
    is_quota = isinstance(error, QuotaExceeded)
    kind = _QUOTA if is_quota else _TYPES.get(error.status, "api_error")
    told = {"message": error.message, "type": kind, "param": None, "code": _QUOTA if is_quota else None}
    return encode_json({"error": told})
