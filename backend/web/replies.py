"""Finished replies: JSON and plain text. Every JSON reply says `application/json`: clients check."""

from collections.abc import Mapping

from starlette.responses import Response

JSON = "application/json; charset=utf-8"


def json_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return finished JSON."""
    return Response(body, status, headers, media_type=JSON)


def empty_response(status: int = 200) -> Response:
    """Return a status alone, without a type, as Ollama answers what has nothing to tell."""
    return Response(status_code=status)


def text_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return plain text, without a charset as Ollama's router writes it."""
    return Response(body, status, {"content-type": "text/plain", **(headers or {})})
