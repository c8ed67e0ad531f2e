"""Sockets beside the application: requests that are not theirs pay one comparison for them."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from backend.core.shared import SharedStore
from backend.features.auth.running import RunningCalls
from backend.features.auth.service import Authenticator
from backend.features.live.bus import MemoryBus
from backend.features.live.events import Readers
from backend.features.live.shared_bus import SharedBus
from backend.features.live.sockets import LiveSockets

PATH = "/ws/socket.io"


@dataclass(frozen=True, slots=True)
class _Route:
    """How the log and the metrics name a request."""

    path: str


_ROUTE = _Route(PATH)


class BesideSockets:
    """Serves the sockets below their path, and the application elsewhere."""

    def __init__(self, application: ASGIApp) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] != "lifespan" and scope["path"].startswith(PATH) and scope["path"].rstrip("/") == PATH:
            scope["route"] = _ROUTE
            await scope["state"]["container"].sockets(scope, receive, send)
        else:
            await self.application(scope, receive, send)


@contextlib.asynccontextmanager
async def open_bus(store: SharedStore | None, key: bytes) -> AsyncIterator[MemoryBus | SharedBus]:
    """Yield the live bus: of this process alone, or over the Redis that it shares with others."""
    if store is None:
        yield MemoryBus()
        return
    bus = SharedBus(store, key)
    bus.start()
    try:
        yield bus
    finally:
        await bus.aclose()


@contextlib.asynccontextmanager
async def open_sockets(
    authenticator: Authenticator, running: RunningCalls, bus: MemoryBus | SharedBus, readers: Readers
) -> AsyncIterator[LiveSockets]:
    """Yield the sockets, which hear of what these readers let them."""
    sockets = LiveSockets(authenticator, running, bus, readers)
    try:
        yield sockets
    finally:
        await sockets.aclose()
