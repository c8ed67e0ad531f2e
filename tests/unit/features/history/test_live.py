"""Those who follow a chat hear of it; where nobody does, nothing is read."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import cast

import pytest

from backend.core.errors import GatewayError, NotFound, RateLimited
from backend.features.auth.principal import Principal
from backend.features.generation.transcript import Transcript
from backend.features.history.encoders import HEARTBEAT, EventEncoder, NothingEncoder
from backend.features.history.following import HEARTBEAT_SECONDS, MOST_FOLLOWED, Followers, Following
from backend.features.history.recorder import answer_values
from backend.features.history.service import HistoryService
from backend.features.history.telling import DELTA_SECONDS, Running, Teller
from backend.features.live.events import LiveEvent, Topic
from backend.llm.events import Finished, Started, TextDelta, ThinkingDelta, Usage
from tests.fakes.team import ANA

CHAT, ANSWER = uuid.UUID(int=1), uuid.UUID(int=2)


class Bus:
    """A `LiveBus` in memory, with one follower at a time."""

    def __init__(self, *, watched: bool = True) -> None:
        self.watched = watched
        self.told: list[LiveEvent] = []
        self.waiting: asyncio.Queue[LiveEvent | None] = asyncio.Queue()
        self.subscriptions = 0

    def is_watched(self, topic: Topic) -> bool:
        return self.watched and topic == Topic.chat(CHAT)

    def publish(self, event: LiveEvent) -> None:
        assert event.topic == Topic.chat(CHAT)
        self.told.append(event)

    @contextlib.asynccontextmanager
    async def subscribe(self, topic: Topic) -> AsyncIterator[AsyncIterator[LiveEvent]]:
        assert topic == Topic.chat(CHAT)
        self.subscriptions += 1

        async def events() -> AsyncIterator[LiveEvent]:
            while (event := await self.waiting.get()) is not None:
                yield event

        yield events()
        self.subscriptions -= 1

    def disconnect_user(self, user_id: uuid.UUID) -> None:
        """Nobody has a socket here."""

    def evict(self, topic: Topic) -> None:
        raise NotImplementedError


class Readers:
    """A service that only says who may read."""

    def __init__(self) -> None:
        self.may = True

    async def may_read(self, principal: Principal, chat_id: uuid.UUID) -> bool:
        return self.may and principal is ANA and chat_id == CHAT


@pytest.fixture
async def bus() -> Bus:
    return Bus()


async def running(bus: Bus) -> tuple[Teller, Transcript]:
    teller = Teller(bus)
    teller.start()
    transcript = Transcript()
    teller.begin(Running(CHAT, ANSWER, transcript), [{"role": "user", "content": "hi"}])
    await asyncio.sleep(DELTA_SECONDS / 2)
    return teller, transcript


async def test_deltas_come_together_now_and_then_and_never_per_token(bus: Bus) -> None:
    teller, transcript = await running(bus)
    for word in ["so", "far", "so", "good"]:
        transcript.append([TextDelta(word + " ")])
    transcript.append([ThinkingDelta("hm")])
    await asyncio.sleep(DELTA_SECONDS)
    transcript.append([TextDelta("end")])
    await asyncio.sleep(DELTA_SECONDS)
    teller.end(ANSWER, answer_values("complete", content="so far so good end"))
    assert [told.name for told in bus.told] == [
        *["message_created"] * 2,
        *["message_delta"] * 2,
        "message_completed",
    ]
    assert [told.data["content"] for told in bus.told[2:]] == ["so far so good ", "end", "so far so good end"]
    assert bus.told[2].data["thinking"] == "hm"
    await teller.aclose()


async def test_who_comes_in_the_middle_hears_what_was_said_before(bus: Bus) -> None:
    bus.watched = False
    teller, transcript = await running(bus)
    transcript.append([TextDelta("before ")])
    await asyncio.sleep(1)
    assert not bus.told
    bus.watched = True
    transcript.append([TextDelta("after")])
    await asyncio.sleep(1)
    assert [told.data["content"] for told in bus.told] == ["before after"]
    transcript.clear()
    transcript.append([TextDelta("again")])
    await asyncio.sleep(1)
    assert bus.told[-1].data["content"] == "again"
    await teller.aclose()


async def follow(bus: Bus, readers: Readers, principal: Principal = ANA) -> Following:
    return await Followers(bus, cast(HistoryService, readers)).follow(principal, CHAT)


async def test_a_follower_gets_events_and_signs_of_life_between_them(bus: Bus) -> None:
    following = await follow(bus, Readers())
    assert await anext(following) == HEARTBEAT
    started = asyncio.get_running_loop().time()
    assert await anext(following) == HEARTBEAT
    assert asyncio.get_running_loop().time() - started >= HEARTBEAT_SECONDS
    bus.waiting.put_nowait(LiveEvent(Topic.chat(CHAT), "message_delta", {"content": "hi"}))
    event = (await anext(following)).decode()
    assert event == f'event: message_delta\ndata: {{"chat_id":"{CHAT}","content":"hi"}}\n\n'
    assert b"ended" in following.encode_error(GatewayError("ended"))
    await following.aclose()
    assert bus.subscriptions == 0


async def test_a_follower_who_may_read_no_more_is_let_go(bus: Bus) -> None:
    readers = Readers()
    following = await follow(bus, readers)
    await anext(following)
    bus.waiting.put_nowait(None)
    assert await anext(following) == HEARTBEAT, "asked again, and goes on"
    readers.may = False
    bus.waiting.put_nowait(None)
    with pytest.raises(StopAsyncIteration):
        await anext(following)
    assert following.finished
    with pytest.raises(StopAsyncIteration):
        await anext(following)
    await following.aclose()
    assert bus.subscriptions == 0
    with pytest.raises(NotFound):
        await follow(bus, readers)


def test_an_answer_is_written_as_events() -> None:
    encoder = EventEncoder(CHAT, ANSWER)
    written = encoder.encode([Started(), ThinkingDelta("hm"), TextDelta('say "hi"\u2028')])
    written += encoder.encode([TextDelta("!"), Finished("stop", Usage(3, 2))])
    written += encoder.encode_error(GatewayError("it broke"))
    events = [event.split("\n", 1) for event in written.decode().strip().split("\n\n")]
    told = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]
    assert [name for name, _ in told] == [
        "message_created",
        *["message_delta"] * 3,
        "message_completed",
        "error",
    ]
    assert "".join(data.get("content", "") for _, data in told) == 'say "hi"\u2028!'
    assert told[1][1]["thinking"] == "hm"
    assert told[4][1]["prompt_tokens"] == 3
    assert told[5][1]["detail"] == "it broke"
    assert all((data["chat_id"], data["message_id"]) == (str(CHAT), str(ANSWER)) for _, data in told)


def test_an_answer_that_is_read_from_the_store_is_written_as_good_as_not_at_all() -> None:
    encoder = NothingEncoder()
    assert encoder.encode([Started(), TextDelta("x")]) == b""
    assert encoder.encode([Finished("stop")]) == b"{}"
    assert b"broke" in encoder.encode_error(GatewayError("broke"))


async def test_nobody_follows_more_than_so_many_chats_at_a_time(bus: Bus) -> None:
    followers = Followers(bus, cast(HistoryService, Readers()))
    open_ones = [await followers.follow(ANA, CHAT) for _ in range(MOST_FOLLOWED)]
    with pytest.raises(RateLimited, match="close one"):
        await followers.follow(ANA, CHAT)
    await open_ones[0].aclose()
    await open_ones[0].aclose()
    open_ones[0] = await followers.follow(ANA, CHAT)
    with pytest.raises(RateLimited):
        await followers.follow(ANA, CHAT)
    for following in open_ones:
        await following.aclose()
    assert bus.subscriptions == 0


async def test_who_may_not_follow_takes_no_place(bus: Bus) -> None:
    readers = Readers()
    readers.may = False
    followers = Followers(bus, cast(HistoryService, readers))
    for _ in range(MOST_FOLLOWED + 1):
        with pytest.raises(NotFound):
            await followers.follow(ANA, CHAT)
