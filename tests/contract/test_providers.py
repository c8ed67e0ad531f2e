"""What every provider promises, whatever its upstream speaks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from backend.llm.errors import (
    ModelNotFound,
    ProviderAuthFailed,
    ProviderDisconnected,
    ProviderError,
    ProviderFailed,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta, Usage
from backend.llm.ports import ChatProvider, Completer, Embedder, EventStream, ModelLister
from backend.llm.types import ChatRequest, Message, TextPart, ToolCall
from backend.providers.http import Limits
from backend.providers.watchdog import Timeouts
from tests.contract.wires import WIRES, Wire
from tests.fakes.providers import HANG, Answer, Body, MockUpstream, Piece, collect, settle_loop, until_error

REQUEST = ChatRequest("a-model", (Message("user", (TextPart("hello"),)),))
SEPARATORS = "a\u0085b\u2028c\u2029d\x0be\x0cf\x1cg é 😀"
WEATHER = ("abcdefghi", "get_weather", {"city": "Paris", "days": [1, {"x": None}]})
TIME = ("jklmnopqr", "get_time", {})


@dataclass
class Rig:
    """One provider in front of an upstream that says what the test wrote."""

    wire: Wire
    up: MockUpstream = field(init=False)

    def says(self, *pieces: Piece, status: int = 200, pause: float = 0.0) -> None:
        kind = self.wire.content_type if status == 200 else "application/json"
        self.replies(Answer(Body(*pieces, pause=pause), status, kind))

    def replies(self, answer: Answer | BaseException, timeouts: Timeouts | None = None) -> None:
        self.up = MockUpstream(answer, timeouts=timeouts, limits=Limits(line_bytes=100_000))

    async def open(self) -> EventStream:
        return await self.wire.provider(self.up.upstream).open_chat(REQUEST)

    async def events(self) -> list[ChatEvent]:
        """Return all events of one answer, which must follow the grammar."""
        stream = await self.open()
        try:
            events = await collect(stream)
        finally:
            await stream.aclose()
        assert_grammar(events)
        return events


def assert_grammar(events: Sequence[ChatEvent], *, finished: bool = True) -> None:
    """`Started? (TextDelta | ThinkingDelta | ToolCall)* Finished`, and no empty pieces."""
    middle = [event for event in events if not isinstance(event, (Started, Finished))]
    starts = [i for i, event in enumerate(events) if isinstance(event, Started)]
    ends = [i for i, event in enumerate(events) if isinstance(event, Finished)]
    assert starts in ([], [0])
    assert ends == ([len(events) - 1] if finished else [])
    for event in middle:
        assert isinstance(event, (TextDelta, ThinkingDelta, ToolCall))
        if isinstance(event, ThinkingDelta) or (isinstance(event, TextDelta) and event.logprobs is None):
            assert event.text


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def rig(request: pytest.FixtureRequest) -> Rig:
    return Rig(request.param)


def test_every_provider_has_the_required_abilities(rig: Rig) -> None:
    rig.says()
    provider = rig.wire.provider(rig.up.upstream)
    for port in (ChatProvider, Completer, Embedder, ModelLister):
        assert isinstance(provider, port)


async def test_plain_text_comes_in_the_pieces_it_was_sent_in(rig: Rig) -> None:
    wire = rig.wire
    rig.says(wire.text("Hel"), wire.text("lo") + wire.text(" you"), wire.end())
    events = await rig.events()
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hel", "lo", " you"]
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].usage) == ("stop", Usage(7, 2))
    asked = rig.up.asked[0]
    assert (asked.method, asked.path) == ("POST", wire.chat_path)
    assert asked.body["model"] == "a-model"
    assert asked.body["stream"] is True


async def test_events_of_one_read_come_as_one_batch_and_no_batch_is_empty(rig: Rig) -> None:
    wire = rig.wire
    rig.says(wire.text("a") + wire.text("b"), b"\n", wire.text("c"), wire.end())
    stream = await rig.open()
    batches = [batch async for batch in stream]
    await stream.aclose()
    assert all(batches)
    assert [len([e for e in batch if isinstance(e, TextDelta)]) for batch in batches][:2] == [2, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_how_the_network_cuts_the_bytes_does_not_show(rig: Rig, size: int) -> None:
    wire = rig.wire
    whole = wire.thinking("hm") + wire.text(SEPARATORS) + wire.calls(WEATHER) + wire.end("tool_calls")
    rig.says(*(whole[i : i + size] for i in range(0, len(whole), size)))
    cut = await rig.events()
    rig.says(whole)
    assert [event for event in cut if not isinstance(event, Finished)] == [
        event for event in await rig.events() if not isinstance(event, Finished)
    ]


async def test_thinking_is_kept_apart_from_the_answer(rig: Rig) -> None:
    wire = rig.wire
    rig.says(wire.thinking("let me"), wire.thinking(" see"), wire.text("42"), wire.end())
    events = await rig.events()
    assert "".join(event.text for event in events if isinstance(event, ThinkingDelta)) == "let me see"
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "42"


@pytest.mark.parametrize("calls", [(WEATHER,), (WEATHER, TIME)], ids=["one", "parallel"])
async def test_tool_calls_come_whole_and_in_order(
    rig: Rig, calls: Sequence[tuple[str, str, dict[str, object]]]
) -> None:
    wire = rig.wire
    rig.says(wire.calls(*calls), wire.end("tool_calls"))
    events = await rig.events()
    assert [event for event in events if isinstance(event, ToolCall)] == [ToolCall(*call) for call in calls]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "stop"


async def test_unicode_separators_are_text(rig: Rig) -> None:
    rig.says(rig.wire.text(SEPARATORS), rig.wire.end())
    [text] = [event for event in await rig.events() if isinstance(event, TextDelta)]
    assert text.text == SEPARATORS


async def test_an_answer_cut_by_its_length_says_so(rig: Rig) -> None:
    rig.says(rig.wire.text("a"), rig.wire.end("length"))
    last = (await rig.events())[-1]
    assert isinstance(last, Finished)
    assert last.reason == "length"


@pytest.mark.parametrize("count", [-1, 10**400, 10**12], ids=["negative", "400 digits", "a million million"])
async def test_counts_that_cannot_be_are_not_believed(rig: Rig, count: int) -> None:
    rig.says(rig.wire.text("a"), rig.wire.end(prompt=count, completion=count))
    last = (await rig.events())[-1]
    assert isinstance(last, Finished)
    assert last.usage == Usage()


@pytest.mark.parametrize("pieces", [(), (b"",), (b"\n",), (b"\n\n\n",)], ids=repr)
async def test_an_empty_stream_is_an_error(rig: Rig, pieces: tuple[bytes, ...]) -> None:
    rig.says(*pieces)
    with pytest.raises(ProviderProtocolError, match="early"):
        await rig.events()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProviderRejected),
        (401, ProviderAuthFailed),
        (404, ModelNotFound),
        (422, ProviderRejected),
        (429, ProviderRateLimited),
        (500, ProviderFailed),
        (502, ProviderFailed),
        (503, ProviderUnavailable),
        (504, ProviderFailed),
        (302, ProviderProtocolError),
    ],
)
async def test_a_refusal_has_its_class_and_its_connection_is_released(
    rig: Rig, status: int, kind: type[ProviderError]
) -> None:
    rig.says(b'{"error":"no"}', status=status)
    with pytest.raises(kind):
        await rig.open()
    assert rig.up.bodies[0].closes >= 1


@pytest.mark.parametrize(
    ("error", "kind"), [(httpx.ReadError("x"), ProviderDisconnected), (httpx.RemoteProtocolError("x"), ProviderError)]
)
async def test_a_connection_that_breaks_in_mid_stream_keeps_what_came_before(
    rig: Rig, error: Exception, kind: type[ProviderError]
) -> None:
    rig.says(rig.wire.text("a"), rig.wire.text("b"), error)
    await assert_told_then_raised(rig, kind)


async def test_an_upstream_that_fails_in_mid_stream_keeps_what_came_before(rig: Rig) -> None:
    rig.says(rig.wire.text("a") + rig.wire.text("b") + rig.wire.failure("GPU on fire, key sk-AbCdEf0123456"))
    error = await assert_told_then_raised(rig, ProviderError)
    assert "sk-AbCdEf" not in error.message


async def test_malformed_json_keeps_what_came_before(rig: Rig) -> None:
    rig.says(rig.wire.text("a") + rig.wire.text("b") + rig.wire.malformed())
    await assert_told_then_raised(rig, ProviderProtocolError)


async def test_a_stream_that_ends_early_keeps_what_came_before(rig: Rig) -> None:
    rig.says(rig.wire.text("a"), rig.wire.text("b"))
    await assert_told_then_raised(rig, ProviderProtocolError)


async def test_json_nested_beyond_all_bounds_is_an_error_of_the_upstream(rig: Rig) -> None:
    deep = b"[" * 40_000 + b"]" * 40_000
    line = b'{"x":' + deep + b"}"
    framed = line + b"\n" if rig.wire.content_type.endswith("ndjson") else b"data: " + line + b"\n\n"
    rig.says(rig.wire.text("a"), rig.wire.text("b"), framed)
    await assert_told_then_raised(rig, ProviderError)


async def assert_told_then_raised(rig: Rig, kind: type[ProviderError]) -> ProviderError:
    """The two texts arrive, then the error, then the connection is released."""
    stream = await rig.open()
    batches, error = await until_error(stream, kind)
    await stream.aclose()
    told = [event for batch in batches for event in batch]
    assert_grammar(told, finished=False)
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["a", "b"]
    assert rig.up.bodies[0].closes >= 1
    return error


async def test_an_error_instead_of_the_first_event_is_raised(rig: Rig) -> None:
    rig.says(rig.wire.failure("no"))
    with pytest.raises(ProviderError):
        await rig.events()


async def test_a_whole_reply_instead_of_a_stream_is_refused(rig: Rig) -> None:
    rig.replies(Answer(b'{"ok":true}', content_type="text/html"))
    with pytest.raises(ProviderProtocolError):
        await rig.open()


async def test_an_upstream_that_hangs_in_mid_stream_is_a_timeout(rig: Rig) -> None:
    answer = Answer(Body(rig.wire.text("a"), rig.wire.text("b"), HANG), content_type=rig.wire.content_type)
    rig.replies(answer, Timeouts(1, 1, 0.03, 5))
    await assert_told_then_raised(rig, ProviderTimeout)


async def test_a_line_over_the_limit_is_refused(rig: Rig) -> None:
    if rig.wire.name == "ollama":
        pytest.skip("Ollama's own limit of eight million bytes holds there")
    rig.says(rig.wire.text("a"), rig.wire.text("b"), b"data: " + b"x" * 100_001)
    await assert_told_then_raised(rig, ProviderProtocolError)


async def test_closing_in_mid_stream_releases_the_response_once(rig: Rig) -> None:
    rig.says(rig.wire.text("a"), rig.wire.text("b"), HANG)
    stream = await rig.open()
    await anext(aiter(stream))
    await stream.aclose()
    await stream.aclose()
    assert rig.up.bodies[0].closes == 1


async def test_a_caller_who_leaves_while_waiting_releases_the_response(rig: Rig) -> None:
    rig.says(HANG)
    stream = await rig.open()
    task = asyncio.create_task(collect(stream))
    await settle_loop()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stream.aclose()
    assert rig.up.bodies[0].closes == 1


async def test_nothing_is_read_after_the_end(rig: Rig) -> None:
    rig.says(rig.wire.text("a"), rig.wire.end() + rig.wire.text("late") + rig.wire.failure("late"))
    events = await rig.events()
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a"]
