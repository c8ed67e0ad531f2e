"""uvicorn's protocols with what they lack.

- A connection can be closed from inside (the `ABORT` and `CLOSE` extensions).
- The request that runs is told when its connection is lost; uvicorn 0.54 tells the one parsed last, which is another
  one when the client pipelines.
- Patience has an end: a client must send a whole request head within `HEAD_SECONDS`, in about `HEAD_BYTES`.
- A body that nobody waits for, because its request is already answered, is taken for `REST_SECONDS` and no longer:
  long enough for the client to notice the answer.

And its protocol of WebSockets: such a connection can be cut from inside too, is cut when nobody reads it, and is not
logged, because the library repeats whole addresses and, at the level DEBUG, whole messages.
"""

import asyncio
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from backend.core.logging import silent_logger
from backend.web.streaming import ABORT, CLOSE

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024
REST_SECONDS = 30.0


class GatewayProtocol(HttpToolsProtocol):
    """One connection; see the module."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_size = 0
    _rest_timer: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Read on; refuse a head without end, whose cost would grow with the square of its size."""
        head = self._head_timer
        super().data_received(data)
        if head is not None and head is self._head_timer:  # all of it belongs to one unfinished head
            self._head_size += len(data)
            if self._head_size > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"the headers are over {HEAD_BYTES} bytes; send less")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks, tell the running request, forget those that wait behind it."""
        self._stop_head_timer()
        self._stop_rest_timer()
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Give the scope of a new request its extensions."""
        super().on_message_begin()
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        extensions: dict[str, Any] = {ABORT: self.transport.abort, CLOSE: self.transport.close}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_head_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Start the clock for a body that is still coming in."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._rest_timer = self.loop.call_later(REST_SECONDS, self.transport.close)

    def on_message_complete(self) -> None:
        """The body is there; one that came after its answer leaves the connection idle."""
        super().on_message_complete()
        if self._stop_rest_timer():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_size = 0

    def _stop_rest_timer(self) -> bool:
        """Stop the clock; return whether it ran."""
        timer, self._rest_timer = self._rest_timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket; see the module."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = self.conn.logger = silent_logger()
        self.conn.debug = False

    def handle_connect(self, event: Request) -> None:
        """Give the scope its extension."""
        super().handle_connect(event)
        if hasattr(self, "scope"):  # else the handshake was refused
            extensions: dict[str, Any] = {**(self.scope["extensions"] or {}), ABORT: self.transport.abort}
            self.scope["extensions"] = extensions

    def keepalive_timeout(self) -> None:
        """Cut at once: what waits to be sent would keep the connection open for ever."""
        super().keepalive_timeout()
        self.transport.abort()
