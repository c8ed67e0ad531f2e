"""Exceptions -> responses, in the shape of the wire format that the route speaks; Ollama's where none is named."""

import math
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from backend.core.errors import GatewayError, NotAuthenticated
from backend.features.auth.credentials import shows_key_in_query
from backend.web.access import REQUEST_ID
from backend.web.complaints import complaints
from backend.web.lean_route import ErrorWriter
from backend.web.replies import json_response, text_response
from backend.web.side_api import SIDE_API, SideRoute
from backend.wire.jsontext import encode_json
from backend.wire.ollama.errors import write_error

_DEFAULT_RETRY_AFTER = {429: 5.0, 503: 2.0}
_BAD_REQUEST, _NOT_FOUND, _WRONG_METHOD, _UNPROCESSABLE = 400, 404, 405, 422
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def install_error_handlers(app: FastAPI) -> None:
    """Let every error leave the application as Ollama would write it."""

    @app.exception_handler(GatewayError)
    async def on_gateway_error(request: Request, error: GatewayError) -> Response:
        return json_response(_writer(request)(error), error.status, _headers(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(_request: Request, error: RequestValidationError) -> Response:
        """Say what is wrong where, without repeating what was sent: it may be a secret."""
        found = complaints(error.errors(), error.body)
        told = {"detail": found[0].message, "errors": [{"field": c.field, "message": c.message} for c in found]}
        return json_response(encode_json(told), _UNPROCESSABLE)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        if request.scope["path"].startswith(SIDE_API):
            return _redirect_slash(app, request) or _side_error(app, request, error)
        if error.status_code == _NOT_FOUND:
            return _redirect_slash(app, request) or text_response(b"404 page not found", _NOT_FOUND)
        if error.status_code == _WRONG_METHOD:
            return text_response(b"405 method not allowed", _WRONG_METHOD, error.headers)
        return text_response(str(error.detail).encode(), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def on_unexpected_error(request: Request, _error: Exception) -> Response:
        told = f"internal error; tell the gateway's operator the request id {request.scope.get(REQUEST_ID, '-')}"
        return json_response(_writer(request)(GatewayError(told)), GatewayError.status)


def _headers(error: GatewayError) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        # Basic is accepted but never offered: browsers would ask their user for a password.
        return {"www-authenticate": "Bearer"}
    wait = error.retry_after if error.retry_after is not None else _DEFAULT_RETRY_AFTER.get(error.status)
    return {} if wait is None else {"retry-after": str(math.ceil(wait))}


def _writer(request: Request) -> ErrorWriter:
    """Return what writes errors for the route that was asked."""
    return getattr(request.scope.get("route"), "write_error", None) or write_error


def _side_error(app: FastAPI, request: Request, error: HTTPException) -> Response:
    """Return what FastAPI itself refuses under `/api/v1`, in the shape of the errors there."""
    told, headers = str(error.detail), {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == _NOT_FOUND:
        told = "there is nothing at this address; docs/api.md lists what there is"
    elif error.status_code == _WRONG_METHOD:
        taken = [method for method in _METHODS if _is_served(app, {**request.scope, "method": method})]
        headers["allow"] = ", ".join(taken)
        told = f"this address takes {' and '.join(taken)}, not {request.method}"
    elif error.status_code == _BAD_REQUEST:
        told = "the body is not JSON that can be read; send UTF-8, and nothing nested too deep"
    return json_response(SideRoute.write_error(GatewayError(told)), error.status_code, headers)


def _is_served(app: FastAPI, scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in app.router.routes)


def _redirect_slash(app: FastAPI, request: Request) -> Response | None:
    """Send a path with a slash too many to the one without, as Ollama's router does.

    The reference is relative: it leads to no other host, and holds below a key's prefix without repeating the key.
    """
    path = request.scope["path"]
    raw = (request.scope.get("raw_path") or path.encode()).decode("latin-1")
    if not raw.endswith("/") or raw.endswith("//"):
        return None
    scope = {**request.scope, "path": path.removesuffix("/")}
    if all(route.matches(scope)[0] is Match.NONE for route in app.router.routes):
        return None
    location = "../" + quote(raw.split("/")[-2], safe="%:")
    query = request.scope["query_string"]
    if query and not shows_key_in_query(query):
        location += f"?{query.decode('latin-1')}"
    status = 301 if request.method == "GET" else 307
    headers = {"location": location, "cache-control": "no-store"}
    if path.startswith(SIDE_API):
        told = GatewayError("this address has a slash too many at its end: leave it out, or let your client follow")
        return json_response(SideRoute.write_error(told), status, headers)
    return Response(status_code=status, headers=headers)
