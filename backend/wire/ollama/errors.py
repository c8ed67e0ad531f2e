"""Writes an error the way Ollama's native routes do: `{"error": "<text>"}`, a string, never an object."""

from backend.core.errors import GatewayError
from backend.wire.jsontext import encode_json


def write_error(error: GatewayError) -> bytes:
    """Return the JSON body of an error."""
    return encode_json({"error": error.message})
