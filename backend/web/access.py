"""Gives each request an id, logs it in one line, counts it, and turns what nobody caught into an opaque 500.

Pure ASGI: streamed chunks pass through `send` without a coroutine of our own around them.
"""

import re
import time
import uuid
from collections.abc import Awaitable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.core.metrics import REQUESTS
from backend.wire.ollama.errors import write_error

_log = get_logger(__name__)
_QUIET = frozenset({"/healthz", "/readyz"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SECURITY_HEADERS = [(b"x-content-type-options", b"nosniff")]


class AccessLog:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see the module."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        try:
            await self._app(scope, receive, exchange.send)
        except Exception:  # noqa: BLE001 (the last place that can tell the client anything)
            _log.exception("request_failed_unexpectedly")
            await exchange.fail()
        finally:
            exchange.log()
            structlog.contextvars.clear_contextvars()


class _Exchange:
    """One request and what became of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.request_id = _request_id(scope)
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self._status = 0

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on; only the first one is looked at."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [
                *message.get("headers", ()), *_SECURITY_HEADERS, (b"x-request-id", self.request_id.encode())
            ]  # fmt: skip
        return self._send(message)

    async def fail(self) -> None:
        """Answer 500 with nothing but the request id, if there is still time for a status."""
        if self._status:
            return
        body = write_error(
            GatewayError(f"internal error; tell the gateway's operator the request id {self.request_id}")
        )
        headers = [
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def log(self) -> None:
        """Write the one line about this request."""
        route = getattr(self._scope.get("route"), "path", "unmatched")
        REQUESTS.labels(route, str(self._status)).inc()
        if route in _QUIET:
            return
        _log.info(
            "request",
            method=self._scope["method"],
            route=route,
            status=self._status,
            ms=round((time.perf_counter() - self._started) * 1000),
        )


def _request_id(scope: Scope) -> str:
    """Return the caller's id for the request if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(given):
                return str(given)
    return uuid.uuid4().hex
