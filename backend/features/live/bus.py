"""Brings events from where they happen to those who listen: the port, and the bus of one process."""

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self

from backend.features.live.events import DELTA, LiveEvent, bounded

MOST_WAITING = 1_000
"""Events that may wait for one listener."""


class Order(Protocol):
    """What must happen to those who listen, wherever they do."""

    def look_again(self, chat_id: uuid.UUID) -> None:
        """Who may read a chat has changed."""
        ...

    def disconnect(self, user_id: uuid.UUID) -> None:
        """A user may listen no more."""
        ...


class LiveBus(Protocol):
    """Tells of chats while something happens in them; nothing is kept for those who come later.

    Nothing here waits or fails: `publish` comes from the middle of answers.
    """

    def is_watched(self, chat_id: uuid.UUID) -> bool:
        """Whether anybody may be listening to a chat; cheap.

        With several processes that of another one is known after about a second at the latest, so an answer may begin
        unwatched and be watched later: ask before each event.
        """
        ...

    def publish(self, event: LiveEvent) -> None:
        """Tell whoever listens; long texts are cut, and those who listen too slowly lose deltas first."""
        ...

    def subscribe(self, chat_id: uuid.UUID) -> AbstractAsyncContextManager[AsyncIterator[LiveEvent]]:
        """Listen to a chat; whether the caller may read it was asked before.

        The events end when it is no longer sure that they may: ask again, then subscribe again.
        """
        ...

    def evict(self, chat_id: uuid.UUID) -> None:
        """Look again at who may read a chat, because that has changed or the chat is gone.

        Sockets of those who may not are put out; subscriptions end, and begin anew for those who may.
        """
        ...

    def disconnect_user(self, user_id: uuid.UUID) -> None:
        """Cut the sockets of a user in every process."""
        ...


class Feed:
    """Events of some chats for one listener, in order; ends when it is closed."""

    def __init__(self, bus: "MemoryBus", *, ends_when_evicted: bool) -> None:
        self.ends_when_evicted = ends_when_evicted
        self.is_closed = False
        self._bus = bus
        self._chats: set[uuid.UUID] = set()
        self._waiting: deque[LiveEvent] = deque()
        self._changed = asyncio.Event()

    def watch(self, chat_id: uuid.UUID) -> None:
        """Listen to one more chat."""
        if not self.is_closed and chat_id not in self._chats:
            self._chats.add(chat_id)
            self._bus.add(chat_id, self)

    def leave(self, chat_id: uuid.UUID) -> None:
        """Listen no longer to a chat; what was heard of it and not told yet is not told."""
        if chat_id in self._chats:
            self._chats.remove(chat_id)
            self._bus.remove(chat_id, self)

    def close(self) -> None:
        """End."""
        for chat_id in tuple(self._chats):
            self.leave(chat_id)
        self.is_closed = True
        self._changed.set()

    def offer(self, event: LiveEvent) -> None:
        """Let the listener have an event; when too many wait, a delta gets lost, or the oldest."""
        if self.is_closed:
            return
        if len(self._waiting) >= MOST_WAITING:
            if event.name == DELTA:
                return
            deltas = (number for number, one in enumerate(self._waiting) if one.name == DELTA)
            del self._waiting[next(deltas, 0)]
        self._waiting.append(event)
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveEvent:
        while True:
            while self._waiting:
                event = self._waiting.popleft()
                if event.chat_id in self._chats:
                    return event
            if self.is_closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()


class MemoryBus:
    """The bus of one process; see `LiveBus`.

    Args:
        changed: is told when there are other chats with listeners than before.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._feeds: dict[uuid.UUID, set[Feed]] = {}
        self._orders: list[Order] = []

    def obey(self, order: Order) -> None:
        """Let somebody know what must happen to those who listen."""
        self._orders.append(order)

    def is_watched(self, chat_id: uuid.UUID) -> bool:
        """Whether anybody is listening to a chat."""
        return chat_id in self._feeds

    def publish(self, event: LiveEvent) -> None:
        """Tell whoever listens."""
        feeds = tuple(self._feeds.get(event.chat_id, ()))
        if feeds:
            event = bounded(event)
        for feed in feeds:
            feed.offer(event)

    @contextlib.asynccontextmanager
    async def subscribe(self, chat_id: uuid.UUID) -> AsyncIterator[AsyncIterator[LiveEvent]]:
        """Listen to a chat."""
        feed = self.open_feed(ends_when_evicted=True)
        feed.watch(chat_id)
        try:
            yield feed
        finally:
            feed.close()

    def open_feed(self, *, ends_when_evicted: bool = False) -> Feed:
        """Return what listens to nothing yet; whoever takes it closes it."""
        return Feed(self, ends_when_evicted=ends_when_evicted)

    def evict(self, chat_id: uuid.UUID) -> None:
        """Look again at who may read a chat."""
        for feed in tuple(self._feeds.get(chat_id, ())):
            if feed.ends_when_evicted:
                feed.close()
        for order in self._orders:
            order.look_again(chat_id)

    def disconnect_user(self, user_id: uuid.UUID) -> None:
        """Cut the sockets of a user."""
        for order in self._orders:
            order.disconnect(user_id)

    def watched(self) -> frozenset[uuid.UUID]:
        """Return the chats that somebody listens to."""
        return frozenset(self._feeds)

    def add(self, chat_id: uuid.UUID, feed: Feed) -> None:
        """Let a feed hear of a chat; feeds call this."""
        feeds = self._feeds.setdefault(chat_id, set())
        feeds.add(feed)
        if len(feeds) == 1:
            self._changed()

    def remove(self, chat_id: uuid.UUID, feed: Feed) -> None:
        """Let a feed hear of a chat no more; feeds call this."""
        feeds = self._feeds.get(chat_id, set())
        feeds.discard(feed)
        if not feeds and self._feeds.pop(chat_id, None) is not None:
            self._changed()
