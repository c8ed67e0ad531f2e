"""uvicorn's HTTP protocol with two things it lacks: closing a connection from inside, and patience with an end.

A client that opens a connection must send a whole request head within `HEAD_SECONDS`; uvicorn would wait for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backend.web.streaming import ABORT, CLOSE

HEAD_SECONDS = 10.0


class GatewayProtocol(HttpToolsProtocol):
    """Adds the `ABORT` and `CLOSE` extensions to each request's scope and a time limit on request heads."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_head_timer()
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

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
