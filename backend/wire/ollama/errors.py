"""Writes an error the way Ollama's native routes do: `{"error": "<text>"}`, a string, never an object.

A 401 says it in `status` too: of such a reply the `ollama` command shows that field alone, and opens `signin_url`.
"""

from backend.core.errors import GatewayError, NotAuthenticated, NotRegistered
from backend.wire.jsontext import encode_json


def write_error(error: GatewayError) -> bytes:
    """Return the JSON body of an error."""
    if isinstance(error, NotRegistered):
        where = {} if error.signin_url is None else {"signin_url": error.signin_url}
        return encode_json({"error": "unauthorized", **where, "status": error.message})
    if isinstance(error, NotAuthenticated):
        return encode_json({"error": error.message, "status": error.message})
    return encode_json({"error": error.message})
