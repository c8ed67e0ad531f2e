"""Brings events from where they happen to those who listen: the port, and the bus of one process."""

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self

from backend.features.live.events import DELTA, LiveEvent, Topic, bounded

MOST_WAITING = 1_000
"""Events that may wait for one listener."""


class Order(Protocol):
    """What must happen to those who listen, wherever they do."""

    def look_again(self, topic: Topic) -> None:
        """Who may read a topic has changed."""
        ...

    def disconnect(self, user_id: uuid.UUID) -> None:
        """A user may listen no more."""
        ...


class LiveBus(Protocol):
    """Tells of topics while something happens to them; nothing is kept for those who come later.

    Nothing here waits or fails: `publish` comes from the middle of answers.
    """

    def is_watched(self, topic: Topic) -> bool:
        """Whether anybody may be listening to a topic; cheap.

        With several processes that of another one is known after about a second at the latest, so an answer may begin
        unwatched and be watched later: ask before each event.
        """
        ...

    def publish(self, event: LiveEvent) -> None:
        """Tell whoever listens; long texts are cut, and those who listen too slowly lose deltas first."""
        ...

    def subscribe(self, topic: Topic) -> AbstractAsyncContextManager[AsyncIterator[LiveEvent]]:
        """Listen to a topic; whether the caller may read it was asked before.

        The events end when it is no longer sure that they may: ask again, then subscribe again.
        """
        ...

    def evict(self, topic: Topic) -> None:
        """Look again at who may read a topic, because that has changed or it is gone.

        Sockets of those who may not are put out; subscriptions end, and begin anew for those who may.
        """
        ...

    def disconnect_user(self, user_id: uuid.UUID) -> None:
        """Cut the sockets of a user in every process."""
        ...


class Feed:
    """Events of some topics for one listener, in order; ends when it is closed."""

    def __init__(self, bus: "MemoryBus", *, ends_when_evicted: bool) -> None:
        self.ends_when_evicted = ends_when_evicted
        self.is_closed = False
        self._bus = bus
        self._topics: set[Topic] = set()
        self._waiting: deque[LiveEvent] = deque()
        self._changed = asyncio.Event()

    def watch(self, topic: Topic) -> None:
        """Listen to one more topic."""
        if not self.is_closed and topic not in self._topics:
            self._topics.add(topic)
            self._bus.add(topic, self)

    def leave(self, topic: Topic) -> None:
        """Listen no longer to a topic; what was heard of it and not told yet is not told."""
        if topic in self._topics:
            self._topics.remove(topic)
            self._bus.remove(topic, self)

    def close(self) -> None:
        """End."""
        for topic in tuple(self._topics):
            self.leave(topic)
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
                if event.topic in self._topics:
                    return event
            if self.is_closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()


class MemoryBus:
    """The bus of one process; see `LiveBus`.

    Args:
        changed: is told when there are other topics with listeners than before.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._feeds: dict[Topic, set[Feed]] = {}
        self._orders: list[Order] = []

    def obey(self, order: Order) -> None:
        """Let somebody know what must happen to those who listen."""
        self._orders.append(order)

    def is_watched(self, topic: Topic) -> bool:
        """Whether anybody is listening to a topic."""
        return topic in self._feeds

    def publish(self, event: LiveEvent) -> None:
        """Tell whoever listens."""
        feeds = tuple(self._feeds.get(event.topic, ()))
        if feeds:
            event = bounded(event)
        for feed in feeds:
            feed.offer(event)

    @contextlib.asynccontextmanager
    async def subscribe(self, topic: Topic) -> AsyncIterator[AsyncIterator[LiveEvent]]:
        """Listen to a topic."""
        feed = self.open_feed(ends_when_evicted=True)
        feed.watch(topic)
        try:
            yield feed
        finally:
            feed.close()

    def open_feed(self, *, ends_when_evicted: bool = False) -> Feed:
        """Return what listens to nothing yet; whoever takes it closes it."""
        return Feed(self, ends_when_evicted=ends_when_evicted)

    def evict(self, topic: Topic) -> None:
        """Look again at who may read a topic."""
        for feed in tuple(self._feeds.get(topic, ())):
            if feed.ends_when_evicted:
                feed.close()
        for order in self._orders:
            order.look_again(topic)

    def disconnect_user(self, user_id: uuid.UUID) -> None:
        """Cut the sockets of a user."""
        for order in self._orders:
            order.disconnect(user_id)

    def watched(self) -> frozenset[Topic]:
        """Return the topics that somebody listens to."""
        return frozenset(self._feeds)

    def add(self, topic: Topic, feed: Feed) -> None:
        """Let a feed hear of a topic; feeds call this."""
        feeds = self._feeds.setdefault(topic, set())
        feeds.add(feed)
        if len(feeds) == 1:
            self._changed()

    def remove(self, topic: Topic, feed: Feed) -> None:
        """Let a feed hear of a topic no more; feeds call this."""
        feeds = self._feeds.get(topic, set())
        feeds.discard(feed)
        if not feeds and self._feeds.pop(topic, None) is not None:
            self._changed()
