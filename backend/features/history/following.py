"""Follows a chat as server-sent events, with signs of life in between."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Self

from backend.core.errors import GatewayError, NotFound
from backend.features.auth.principal import Principal
from backend.features.history.encoders import HEARTBEAT, SSE, write_event
from backend.features.history.service import HistoryService
from backend.features.live.bus import LiveBus
from backend.features.live.events import LiveEvent

HEARTBEAT_SECONDS = 15.0


class Following:
    """Implements `Answer`: what happens in a chat, until its reader leaves or may read it no more."""

    content_type = SSE
    is_streamed = True

    def __init__(self, bus: LiveBus, service: HistoryService, principal: Principal, chat_id: uuid.UUID) -> None:
        self.finished = False
        self._bus = bus
        self._service = service
        self._principal = principal
        self._chat_id = chat_id
        self._stack = AsyncExitStack()
        self._events: AsyncIterator[LiveEvent] | None = None
        self._next: asyncio.Future[LiveEvent | None] | None = None

    @classmethod
    async def open(cls, bus: LiveBus, service: HistoryService, principal: Principal, chat_id: uuid.UUID) -> "Following":
        """Return the open stream; raise `NotFound` for a chat that is not the caller's."""
        following = cls(bus, service, principal, chat_id)
        if not await following._subscribe():
            raise NotFound("there is no such chat")
        return following

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """See `Answer.__anext__`."""
        if self.finished:
            raise StopAsyncIteration
        if self._next is None:
            self._next = asyncio.ensure_future(_next_of(self._events))
            return HEARTBEAT
        done, _ = await asyncio.wait({self._next}, timeout=HEARTBEAT_SECONDS)
        if not done:
            return HEARTBEAT
        heard = self._next.result()
        if heard is None:
            await self._stack.aclose()
            if not await self._subscribe():
                self.finished = True
                raise StopAsyncIteration
        self._next = asyncio.ensure_future(_next_of(self._events))
        return HEARTBEAT if heard is None else write_event(heard.name, {"chat_id": str(self._chat_id), **heard.data})

    def encode_error(self, error: GatewayError) -> bytes:
        """See `Answer.encode_error`."""
        return write_event("error", {"detail": error.message})

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._stack.aclose()

    async def _subscribe(self) -> bool:
        if not await self._service.may_read(self._principal, self._chat_id):
            return False
        self._events = await self._stack.enter_async_context(self._bus.subscribe(self._chat_id))
        return True


async def _next_of(events: AsyncIterator[LiveEvent] | None) -> LiveEvent | None:
    """Return the next event, or None at the end: a task cannot end with `StopAsyncIteration`."""
    return None if events is None else await anext(events, None)
