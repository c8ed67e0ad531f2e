"""Follows a chat as server-sent events, with signs of life in between."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Self

from backend.core.errors import GatewayError, NotFound, RateLimited
from backend.features.auth.principal import Principal
from backend.features.history.encoders import HEARTBEAT, SSE, write_event
from backend.features.history.service import HistoryService
from backend.features.live.bus import LiveBus
from backend.features.live.events import LiveEvent, Topic

HEARTBEAT_SECONDS = 15.0


MOST_FOLLOWED = 20
"""Streams one user may have open in one process."""


class Followers:
    """Who follows chats of this process."""

    def __init__(self, bus: LiveBus, service: HistoryService) -> None:
        self._bus = bus
        self._service = service
        self._streams: Counter[uuid.UUID | None] = Counter()

    async def follow(self, principal: Principal, chat_id: uuid.UUID) -> "Following":
        """Return an open stream.

        Raises `NotFound` for a chat that is not the caller's, `RateLimited` when they have too many streams.
        """
        user_id = principal.user_id
        if self._streams[user_id] >= MOST_FOLLOWED:
            raise RateLimited(f"you follow {MOST_FOLLOWED} chats already; close one and try again")
        self._streams[user_id] += 1
        following = Following(self._bus, self._service, principal, chat_id, lambda: self._leave(user_id))
        try:
            await following.begin()
        except BaseException:
            await following.aclose()
            raise
        return following

    def _leave(self, user_id: uuid.UUID | None) -> None:
        self._streams[user_id] -= 1
        if not self._streams[user_id]:
            del self._streams[user_id]


class Following:
    """Implements `Answer`: what happens in a chat, until its reader leaves or may read it no more."""

    content_type = SSE
    is_streamed = True

    def __init__(
        self,
        bus: LiveBus,
        service: HistoryService,
        principal: Principal,
        chat_id: uuid.UUID,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.finished = False
        self._leave = leave
        self._is_open = True
        self._bus = bus
        self._service = service
        self._principal = principal
        self._chat_id = chat_id
        self._stack = AsyncExitStack()
        self._events: AsyncIterator[LiveEvent] | None = None
        self._next: asyncio.Future[LiveEvent | None] | None = None

    async def begin(self) -> None:
        """Listen; raise `NotFound` for a chat that is not the caller's."""
        if not await self._subscribe():
            raise NotFound("there is no such chat")

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
        if self._is_open:
            self._is_open = False
            self._leave()
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._stack.aclose()

    async def _subscribe(self) -> bool:
        if not await self._service.may_read(self._principal, self._chat_id):
            return False
        self._events = await self._stack.enter_async_context(self._bus.subscribe(Topic.chat(self._chat_id)))
        return True


async def _next_of(events: AsyncIterator[LiveEvent] | None) -> LiveEvent | None:
    """Return the next event, or None at the end: a task cannot end with `StopAsyncIteration`."""
    return None if events is None else await anext(events, None)
