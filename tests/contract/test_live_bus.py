"""One suite for the live bus: of one process, and of two processes on one Redis (heard in one, told in the other)."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import structlog

from backend.core.shared import SharedStore, open_shared_store
from backend.features.live import bus as module
from backend.features.live.bus import MemoryBus
from backend.features.live.events import DELTA, KINDS, MOST_CHARACTERS, LiveEvent, Topic
from backend.features.live.shared_bus import LIST_SECONDS, SharedBus
from tests.fixtures.redis import RedisServer, redis_server

__all__ = ["redis_server"]

SECONDS = 15.0
KEY = b"k" * 32
CHAT, OTHER = Topic.chat(uuid.UUID(int=1)), Topic.chat(uuid.UUID(int=2))
AnyBus = MemoryBus | SharedBus


@dataclass
class Pair:
    """Where events are told, and where they are heard."""

    teller: AnyBus
    hearer: AnyBus


@contextlib.asynccontextmanager
async def running(store: SharedStore, key: bytes = KEY) -> AsyncIterator[SharedBus]:
    bus = SharedBus(store, key)
    bus.start()
    try:
        yield bus
    finally:
        await bus.aclose()


@contextlib.asynccontextmanager
async def two_processes(url: str, other_key: bytes = KEY) -> AsyncIterator[Pair]:
    async with (
        open_shared_store(url) as one,
        open_shared_store(url) as two,
        running(one) as teller,
        running(two, other_key) as hearer,
    ):
        yield Pair(teller, hearer)


@pytest.fixture(params=["memory", "redis"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    if request.param == "memory":
        bus = MemoryBus()
        yield Pair(bus, bus)
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with two_processes(server.url) as made:
        yield made


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 (another process's doing)
            await asyncio.sleep(0.01)


def event(name: str = "message_created", topic: Topic = CHAT, **data: object) -> LiveEvent:
    return LiveEvent(topic, name, data)


async def heard(events: AsyncIterator[LiveEvent], count: int) -> list[LiveEvent]:
    async with asyncio.timeout(SECONDS):
        return [await anext(events) for _ in range(count)]


async def test_who_listens_hears_everything_in_order(pair: Pair) -> None:
    told = [event(DELTA, text=f"é\u2028{number}", nested={"list": [number, None]}) for number in range(200)]
    told.append(LiveEvent(CHAT, "typing", {"is_typing": True}, origin="a socket"))
    async with pair.hearer.subscribe(CHAT) as events:
        await until(lambda: pair.teller.is_watched(CHAT))
        for one in told:
            pair.teller.publish(one)
        assert await heard(events, len(told)) == told


async def test_nobody_hears_of_other_chats(pair: Pair) -> None:
    async with pair.hearer.subscribe(CHAT) as events, pair.hearer.subscribe(OTHER) as others:
        await until(lambda: pair.teller.is_watched(CHAT) and pair.teller.is_watched(OTHER))
        pair.teller.publish(event(topic=OTHER))
        pair.teller.publish(event("chat_updated"))
        assert await heard(events, 1) == [event("chat_updated")]
        assert await heard(others, 1) == [event(topic=OTHER)]


async def test_topics_of_each_kind_are_heard_and_one_id_is_not_another_kinds(pair: Pair) -> None:
    topics = [Topic(kind, CHAT.id) for kind in KINDS]
    async with contextlib.AsyncExitStack() as stack:
        heard_of = [await stack.enter_async_context(pair.hearer.subscribe(topic)) for topic in topics[1:]]
        await until(lambda: all(pair.teller.is_watched(topic) for topic in topics[1:]))
        assert not pair.teller.is_watched(topics[0])
        for topic in topics:
            pair.teller.publish(event("document_progress", topic, document_id=str(topic)))
        for topic, events in zip(topics[1:], heard_of, strict=True):
            pair.teller.publish(event("document_progress", topic, last=True))
            told = await heard(events, 2)
            assert told == [
                event("document_progress", topic, document_id=str(topic)),
                event("document_progress", topic, last=True),
            ]
        pair.teller.evict(topics[0])
        pair.teller.evict(topics[1])
        async with asyncio.timeout(SECONDS):
            assert [one async for one in heard_of[0]] == []
        pair.teller.publish(event("document_progress", topics[2]))
        assert await heard(heard_of[1], 1) == [event("document_progress", topics[2])]


async def test_channels_of_other_names_are_no_topics(redis_server: RedisServer) -> None:
    names = ("orders", "secret:" + str(CHAT.id), "chat:", "document:x", str(CHAT.id), "collection")
    async with (
        two_processes(redis_server.url) as pair,
        open_shared_store(redis_server.url) as store,
        pair.hearer.subscribe(CHAT),
    ):
        channels = store.client.pubsub()
        await channels.subscribe(*(f"passerelle:live:{name}" for name in names))
        bus = pair.teller
        assert isinstance(bus, SharedBus)
        await until(lambda: pair.teller.is_watched(CHAT))
        await asyncio.sleep(LIST_SECONDS * 1.5)
        assert bus._elsewhere == {CHAT}
        await channels.aclose()


async def test_many_listeners_each_hear_once(pair: Pair) -> None:
    async with contextlib.AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(pair.hearer.subscribe(CHAT)) for _ in range(5)]
        await until(lambda: pair.teller.is_watched(CHAT))  # by the others: nobody listens there yet
        listeners.append(await stack.enter_async_context(pair.teller.subscribe(CHAT)))
        await asyncio.sleep(0.2)
        for number in range(3):
            pair.teller.publish(event(number=number))
        for events in listeners:
            assert await heard(events, 3) == [event(number=number) for number in range(3)]


async def test_a_chat_is_watched_while_somebody_listens(pair: Pair) -> None:
    assert not pair.teller.is_watched(CHAT)
    async with pair.hearer.subscribe(CHAT), pair.hearer.subscribe(CHAT):
        assert pair.hearer.is_watched(CHAT)
        await until(lambda: pair.teller.is_watched(CHAT))
        assert not pair.teller.is_watched(OTHER)
    await until(lambda: not pair.teller.is_watched(CHAT))
    await until(lambda: not pair.hearer.is_watched(CHAT))


async def test_an_evicted_chats_subscriptions_end_and_others_go_on(pair: Pair) -> None:
    async with pair.hearer.subscribe(CHAT) as events, pair.hearer.subscribe(OTHER) as others:
        await until(lambda: pair.teller.is_watched(CHAT) and pair.teller.is_watched(OTHER))
        pair.teller.evict(CHAT)
        async with asyncio.timeout(SECONDS):
            assert [one async for one in events] == []
        pair.teller.publish(event(topic=OTHER))
        assert await heard(others, 1) == [event(topic=OTHER)]


async def test_orders_reach_every_process_once(pair: Pair) -> None:
    class Orders:
        def __init__(self) -> None:
            self.looked: list[Topic] = []
            self.cut: list[uuid.UUID] = []

        def look_again(self, topic: Topic) -> None:
            self.looked.append(topic)

        def disconnect(self, user_id: uuid.UUID) -> None:
            self.cut.append(user_id)

    orders = Orders()
    pair.hearer.obey(orders)
    await asyncio.sleep(0.2)
    pair.teller.evict(CHAT)
    pair.teller.disconnect_user(OTHER.id)
    await until(lambda: (orders.looked, orders.cut) == ([CHAT], [OTHER.id]))


async def test_a_slow_listener_loses_deltas_first_and_holds_up_nobody(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    async with pair.hearer.subscribe(CHAT) as slow, pair.hearer.subscribe(OTHER) as other:
        await until(lambda: pair.teller.is_watched(CHAT) and pair.teller.is_watched(OTHER))
        pair.teller.publish(event("message_created"))
        for number in range(50):
            pair.teller.publish(event(DELTA, number=number))
        pair.teller.publish(event("message_completed"))
        pair.teller.publish(event(topic=OTHER))
        await heard(other, 1)
        names = [one.name for one in await heard(slow, 10)]
        assert (names[0], names[-1], names.count(DELTA)) == ("message_created", "message_completed", 8)


async def test_publishing_to_nobody_is_nothing(pair: Pair) -> None:
    for _ in range(100):
        pair.teller.publish(event())
    async with pair.hearer.subscribe(CHAT) as events:
        await until(lambda: pair.teller.is_watched(CHAT))
        pair.teller.publish(event("chat_updated"))
        assert (await heard(events, 1))[0].name == "chat_updated"


async def test_what_cannot_be_sent_does_not_end_the_rest(redis_server: RedisServer) -> None:
    async with two_processes(redis_server.url) as pair, pair.hearer.subscribe(CHAT) as events:
        await until(lambda: pair.teller.is_watched(CHAT))
        pair.teller.publish(event(what=object()))
        await asyncio.sleep(0.1)
        pair.teller.publish(event("chat_updated"))
        assert (await heard(events, 1))[0].name == "chat_updated"


async def test_without_redis_a_process_tells_its_own_and_all_hear_again_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    async with (
        two_processes(redis_server.url) as pair,
        pair.hearer.subscribe(CHAT) as far,
        pair.teller.subscribe(CHAT) as near,
    ):
        await until(lambda: pair.teller.is_watched(CHAT) and pair.hearer.is_watched(CHAT))
        redis_server.stop()
        pair.teller.publish(event("chat_updated", number=1))
        assert [one.data for one in await heard(near, 1)] == [{"number": 1}]
        await asyncio.sleep(1.5)
        async with pair.hearer.subscribe(OTHER) as late:
            redis_server.start()
            await until(lambda: pair.teller.is_watched(OTHER))
            pair.teller.publish(event("chat_updated", number=2))
            pair.teller.publish(event(topic=OTHER))
            assert (await heard(late, 1))[0].topic == OTHER
            assert [one.data for one in await heard(near, 1)] == [{"number": 2}]
            async with asyncio.timeout(SECONDS):
                while (await anext(far)).data != {"number": 2}:
                    pass


async def test_what_is_not_from_a_gateway_is_not_believed(redis_server: RedisServer) -> None:
    async with two_processes(redis_server.url) as pair, pair.hearer.subscribe(CHAT) as events:
        await until(lambda: pair.teller.is_watched(CHAT))
        with structlog.testing.capture_logs() as logs:
            for forged in ("", "x" * 100, '{"name":"chat_deleted","subject":"' + str(CHAT.id) + '"}'):
                redis_server.ask("PUBLISH", f"passerelle:live:{CHAT}", forged)
                redis_server.ask("PUBLISH", "passerelle:live:orders", forged)
            pair.teller.publish(event("chat_updated"))
            assert [one.name for one in await heard(events, 1)] == ["chat_updated"]
        assert "live_event_forged" in {entry["event"] for entry in logs}


async def test_gateways_of_another_key_are_not_heard(redis_server: RedisServer) -> None:
    async with two_processes(redis_server.url, b"o" * 32) as pair, pair.hearer.subscribe(CHAT) as events:
        await until(lambda: pair.teller.is_watched(CHAT))
        pair.teller.publish(event())
        pair.hearer.publish(event("chat_updated"))
        await asyncio.sleep(0.3)
        assert [one.name for one in await heard(events, 1)] == ["chat_updated"]


async def test_a_long_text_is_cut_and_says_so(pair: Pair) -> None:
    async with pair.hearer.subscribe(CHAT) as events:
        await until(lambda: pair.teller.is_watched(CHAT))
        whole = {"content": "a" * MOST_CHARACTERS, "thinking": ""}
        for data in ({"content": "a" * 10**6, "thinking": "b" * 10**6, "status": "complete"}, whole):
            pair.teller.publish(LiveEvent(CHAT, "message_completed", data))
        cut, untouched = [await asyncio.wait_for(anext(events), SECONDS) for _ in range(2)]
    assert (len(cut.data["content"]), len(cut.data["thinking"])) == (MOST_CHARACTERS, MOST_CHARACTERS)
    assert (cut.data["truncated"], cut.data["status"]) == (True, "complete")
    assert untouched.data == whole
