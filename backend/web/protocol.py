"""uvicorn's HTTP protocol with three things it lacks.

- A connection can be closed from inside (the `ABORT` and `CLOSE` extensions).
- The request that runs is told when its connection is lost; uvicorn 0.54 tells the one parsed last, which is another
  one when the client pipelines.
- Patience has an end: a client must send a whole request head within `HEAD_SECONDS`.
"""

import asyncio
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from backend.web.streaming import ABORT, CLOSE

HEAD_SECONDS = 10.0


class GatewayProtocol(HttpToolsProtocol):
    """One connection; see the module."""

    _head_timer: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, tell the running request, forget those that wait behind it."""
        self._stop_head_timer()
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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
