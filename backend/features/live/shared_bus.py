"""The bus of several processes, over the channels of a Redis.

Each process subscribes to the channels of the topics that somebody listens to there, and tells the channel of a topic
what happens to it. So Redis itself knows which topics are watched: each process asks for the list once a second, and is
told at once on a channel of their own when another begins. Whoever listens in the same process hears without Redis.

What comes over a channel is believed only with a MAC by the gateways' own key. While Redis is away each process tells
its own listeners alone.
"""

import asyncio
import contextlib
import hmac
import secrets
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import msgspec

from backend.core.logging import get_logger
from backend.core.shared import PREFIX, RETRY_SECONDS, SharedStore, StoreAway
from backend.features.live.bus import Feed, MemoryBus, Order
from backend.features.live.events import DELTA, NAMES, Kind, LiveEvent, Topic, bounded
from backend.wire.jsontext import encode_json

LIST_SECONDS = 1.0
"""How often the list of watched topics is read; for so long another process's listener may be missed."""
_LIVE = f"{PREFIX}live:"
_ORDERS = f"{_LIVE}orders"
_MAC_BYTES, _PROCESS_BYTES = 16, 8
_MOST_WAITING, _BATCH = 5_000, 100
_POLL_SECONDS = 5.0
_log = get_logger(__name__)


class _Message(msgspec.Struct, omit_defaults=True):
    """What goes over a channel: an event of its topic, or an order."""

    name: str
    subject: uuid.UUID
    data: dict[str, Any] = {}
    origin: str = ""
    kind: Kind = "chat"

    @property
    def topic(self) -> Topic:
        """What it is about, unless it is about a user."""
        return Topic(self.kind, self.subject)


_decode = msgspec.json.Decoder(_Message).decode
_WATCH, _EVICT, _DISCONNECT = "watch", "evict", "disconnect"


class SharedBus:
    """A `LiveBus` over a Redis; see the module.

    Args:
        store: the Redis.
        key: only gateways of one database have it.
    """

    def __init__(self, store: SharedStore, key: bytes) -> None:
        self._store = store
        self._key = hmac.digest(key, b"live events", "sha256")
        self._process = secrets.token_bytes(_PROCESS_BYTES)
        self._own = MemoryBus(self._wake)
        self._elsewhere: frozenset[Topic] = frozenset()
        self._subscribed: frozenset[Topic] = frozenset()
        self._waiting: deque[_Message] = deque()
        self._has_work = asyncio.Event()
        self._channels: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_open = True
        self._has_warned = False

    def start(self) -> None:
        """Begin to talk to other processes."""
        self._tasks = [
            asyncio.create_task(work, name=name)
            for name, work in {
                "hear live events": self._hear(),
                "tell live events": self._tell(),
                "list watched topics": self._list(),
            }.items()
        ]

    async def aclose(self) -> None:
        """Stop."""
        self._is_open = False  # the client of Redis loses a cancellation that meets the end of a write
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._drop_channels()

    def obey(self, order: Order) -> None:
        """Let somebody know what must happen to those who listen in this process."""
        self._own.obey(order)

    def is_watched(self, topic: Topic) -> bool:
        """Whether anybody may be listening to a topic, here or elsewhere."""
        return self._own.is_watched(topic) or topic in self._elsewhere

    def publish(self, event: LiveEvent) -> None:
        """Tell whoever listens; here at once."""
        self._own.publish(event)
        if event.topic in self._elsewhere:
            event = bounded(event)
            self._send(_about(event.topic, event.name, dict(event.data), event.origin))

    def subscribe(self, topic: Topic) -> AbstractAsyncContextManager[AsyncIterator[LiveEvent]]:
        """Listen to a topic."""
        return self._own.subscribe(topic)

    def open_feed(self, *, ends_when_evicted: bool = False) -> Feed:
        """Return what listens to nothing yet."""
        return self._own.open_feed(ends_when_evicted=ends_when_evicted)

    def evict(self, topic: Topic) -> None:
        """Look again at who may read a topic, here at once."""
        self._own.evict(topic)
        self._send(_about(topic, _EVICT))

    def disconnect_user(self, user_id: uuid.UUID) -> None:
        """Cut the sockets of a user, here at once."""
        self._own.disconnect_user(user_id)
        self._send(_Message(_DISCONNECT, user_id))

    def _wake(self) -> None:
        self._has_work.set()

    def _send(self, message: _Message) -> None:
        if self._store.link.is_away or len(self._waiting) >= _MOST_WAITING:
            if message.name == DELTA:
                return
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft()
        self._waiting.append(message)
        self._has_work.set()

    async def _tell(self) -> None:
        """Subscribe to what is watched and publish what waits, whenever there is something."""
        while self._is_open:
            await self._has_work.wait()
            self._has_work.clear()
            try:
                await self._follow_watched()
                while self._waiting:
                    messages = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
                    await self._store.link.ask(partial(self._publish, messages))
            except StoreAway:
                self._waiting.clear()
            except Exception:  # noqa: BLE001 (one bad event is not the end of all)
                _log.exception("live_events_not_told")

    async def _follow_watched(self) -> None:
        """Subscribe to the topics that are watched here, and to no others."""
        watched, channels = self._own.watched(), self._channels
        if channels is None or watched == self._subscribed:
            return
        begun, ended = watched - self._subscribed, self._subscribed - watched
        if begun:
            await self._store.link.ask(partial(channels.subscribe, *map(_channel, begun)))
            self._subscribed |= begun
            self._waiting.extend(_about(topic, _WATCH) for topic in begun)
        if ended:
            await self._store.link.ask(partial(channels.unsubscribe, *map(_channel, ended)))
            self._subscribed -= ended

    async def _publish(self, messages: list[_Message]) -> None:
        async with self._store.client.pipeline(transaction=False) as pipeline:
            for message in messages:
                channel = _channel(message.topic) if message.name in NAMES else _ORDERS
                pipeline.publish(channel, self._seal(channel.encode(), encode_json(message)))
            await pipeline.execute()

    async def _list(self) -> None:
        while self._is_open:
            try:
                names = await self._store.link.ask(partial(self._store.client.pubsub_channels, f"{_LIVE}*"))
                self._elsewhere = frozenset(_topics(names))
            except StoreAway:
                self._elsewhere = frozenset()
            self._wake()  # what could not be subscribed to is tried again
            await asyncio.sleep(LIST_SECONDS)

    async def _hear(self) -> None:
        while self._is_open:
            try:
                await self._store.link.ask(self._open_channels)
                while self._is_open and (channels := self._channels) is not None:
                    message = await channels.get_message(ignore_subscribe_messages=True, timeout=_POLL_SECONDS)
                    if message is not None and message["type"] == "message":
                        self._take(message["channel"], message["data"])
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 (whatever breaks the connection, a new one is made)
                if not isinstance(error, StoreAway):
                    _log.warning("live_events_not_heard", reason=type(error).__name__)
            await self._drop_channels()
            await asyncio.sleep(RETRY_SECONDS)

    async def _open_channels(self) -> None:
        channels: Any = self._store.client.pubsub()  # half of its methods have no types
        watched = self._own.watched()
        try:
            await channels.subscribe(_ORDERS, *map(_channel, watched))
        except BaseException:
            await channels.aclose()
            raise
        self._channels, self._subscribed = channels, watched
        self._wake()

    async def _drop_channels(self) -> None:
        channels, self._channels = self._channels, None
        if channels is not None:
            with contextlib.suppress(Exception):
                await channels.aclose()

    def _seal(self, channel: bytes, text: bytes) -> bytes:
        told = self._process + text
        return self._mac(channel, told) + told

    def _mac(self, channel: bytes, told: bytes) -> bytes:
        return hmac.digest(self._key, channel + b"\0" + told, "sha256")[:_MAC_BYTES]

    def _take(self, channel: bytes, sealed: bytes) -> None:
        """Pass on what another process said; drop what is not from one of ours."""
        mac, told = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(channel, told)):
            _log.warning(
                "live_event_forged", hint="somebody else writes to this Redis, or gateways differ in their key"
            )
            return
        if told.startswith(self._process):
            return
        message = _decode(told[_PROCESS_BYTES:])
        if message.name == _WATCH:
            self._elsewhere |= {message.topic}
        elif message.name == _EVICT:
            self._own.evict(message.topic)
        elif message.name == _DISCONNECT:
            self._own.disconnect_user(message.subject)
        else:
            self._own.publish(LiveEvent(message.topic, message.name, message.data, message.origin))


def _about(topic: Topic, name: str, data: dict[str, Any] | None = None, origin: str = "") -> _Message:
    return _Message(name, topic.id, data or {}, origin, topic.kind)


def _channel(topic: Topic) -> str:
    return f"{_LIVE}{topic}"


def _topics(channels: Iterable[bytes | str]) -> Iterator[Topic]:
    """Yield the topics of these channels; anybody can subscribe to anything, and orders have a channel, too."""
    for channel in channels:
        name = channel.decode("utf-8", "replace") if isinstance(channel, bytes) else channel
        topic = Topic.parse(name.removeprefix(_LIVE))
        if topic is not None:
            yield topic
