"""Gives each request an id, logs it in one line and counts it; logs what nobody caught with its traceback.

Pure ASGI: streamed chunks pass through `send` without a coroutine of our own around them.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.logging import get_logger
from backend.core.metrics import REQUESTS
from backend.web.streaming import DIRECT_SEND

_log = get_logger(__name__)

REQUEST_ID = "passerelle.request_id"
"""Where the id of a request stands in its ASGI scope."""

_QUIET = frozenset({"/healthz", "/readyz"})
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SECURITY_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class AccessLog:
    """Stands around the whole application, so that it sees the server's own `send`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see the module."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        scope[REQUEST_ID] = exchange.request_id
        scope.setdefault("extensions", {})[DIRECT_SEND] = send
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        try:
            await self.app(scope, receive, exchange.send)
        except Exception:  # noqa: BLE001 (the client was told by the error handler; it is logged here, once)
            _log.exception("request_failed_unexpectedly")
        except asyncio.CancelledError:
            # The server is stopping and has waited long enough; it would log a traceback for what is its own doing.
            _log.warning("request_cut_at_shutdown")
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
            own = [*_SECURITY_HEADERS, (b"x-request-id", self.request_id.encode())]
            message["headers"] = [*message.get("headers", ()), *own]
        return self._send(message)

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
            given = str(value.decode("latin-1"))
            return given if _VALID_ID.fullmatch(given) else _new_id()
    return _new_id()


def _new_id() -> str:
    return f"{random.getrandbits(128):032x}"
