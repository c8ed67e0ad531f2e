"""Events become exactly the bytes a client of the messages API expects, and its SDK's types read them."""

import json
from collections.abc import Callable, Sequence

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from backend.core.errors import (
    GatewayError,
    InvalidRequest,
    NotAuthenticated,
    NotPermitted,
    Overloaded,
    PayloadTooLarge,
)
from backend.llm.errors import ModelNotFound, ProviderError, ProviderRateLimited, ProviderTimeout, ProviderUnavailable
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta, Usage
from backend.llm.types import ToolCall
from backend.wire.anthropic.encoders import EventEncoder, ObjectEncoder, mint_id
from backend.wire.anthropic.errors import write_error
from tests.unit.wire.transcripts import GOLDEN

STOP, LENGTH = Finished("stop", Usage(9, 5)), Finished("length", Usage(9, 5))
AWKWARD = 'a\u2028b\u2029c\u0085"\\\n<&>\U0001f600\ud800'
ANSWERS: dict[str, list[ChatEvent]] = {
    "text": [Started("id"), TextDelta("Bon"), TextDelta("jour, été"), STOP],
    "thinking": [Started(), ThinkingDelta("2"), ThinkingDelta("+2"), TextDelta("4"), LENGTH],
    "tools": [
        TextDelta("Looking."),
        ToolCall("gSIMJiOkT", "get_weather", {"city": "Paris", "days": [1, 2]}),
        ToolCall("", "get_time", {}),
        TextDelta("Soon."),
        LENGTH,
    ],
    "awkward": [TextDelta(AWKWARD), ToolCall("c", "f", {AWKWARD: AWKWARD}), STOP],
    "nothing": [Started(), TextDelta("", [{"token": ""}]), Finished("stop")],
}
every_answer = pytest.mark.parametrize("name", ANSWERS)
EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def counter() -> Callable[[str], str]:
    """Return what makes ids that a test can foresee."""
    made = iter(range(1, 1000))
    return lambda prefix: f"{prefix}_{next(made)}"


def streaming() -> EventEncoder:
    return EventEncoder("m:7b", 12, "r1", counter())


def whole() -> ObjectEncoder:
    return ObjectEncoder("m:7b", "r1", counter())


def golden(name: str) -> bytes:
    return (GOLDEN / "anthropic" / name).read_bytes()


def read_stream(stream: bytes) -> list[RawMessageStreamEvent]:
    """Read a stream with the SDK's own types; every event's name is its data's type."""
    events = []
    *frames, rest = stream.split(b"\n\n")
    assert rest == b""
    for frame in frames:
        name, data = frame.split(b"\n")
        event = EVENT.validate_json(data.removeprefix(b"data: "))
        assert name == b"event: " + event.type.encode()
        events.append(event)
    return events


@every_answer
def test_a_streamed_answer_is_its_golden_events(name: str) -> None:
    assert streaming().encode(ANSWERS[name]) == golden(f"{name}.sse")


@every_answer
def test_a_whole_answer_is_its_golden_message(name: str) -> None:
    encoder = whole()
    written = [encoder.encode([event]) for event in ANSWERS[name]]
    assert written == [*([b""] * (len(written) - 1)), golden(f"{name}.json")]


@every_answer
def test_the_sdks_types_read_every_golden_answer(name: str) -> None:
    message = Message.model_validate_json(golden(f"{name}.json"))
    assert message.usage.output_tokens > 0
    kinds = [event.type for event in read_stream(golden(f"{name}.sse"))]
    assert (kinds[0], *kinds[-2:]) == ("message_start", "message_delta", "message_stop")


def test_nothing_is_written_before_there_is_something_to_tell() -> None:
    assert streaming().encode([Started("id")]) == b""


EVENTS = st.one_of(
    st.builds(TextDelta, st.text(max_size=3)),
    st.builds(ThinkingDelta, st.text(max_size=3)),
    st.builds(
        ToolCall, st.sampled_from(["", "a"]), st.text(max_size=3), st.dictionaries(st.text(max_size=2), st.none())
    ),
    st.builds(Started),
)


@given(st.lists(EVENTS, max_size=8), st.data())
def test_an_answer_does_not_depend_on_how_its_events_were_batched(told: list[ChatEvent], data: st.DataObject) -> None:
    events = [*told, STOP]
    encoder, pieces, rest = streaming(), b"", events
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces += encoder.encode(rest[:size])
        rest = rest[size:]
    assert pieces == streaming().encode(events)


@given(st.lists(EVENTS, max_size=8))
def test_a_stream_adds_up_to_the_whole_message(told: list[ChatEvent]) -> None:
    events = [*told, STOP]
    message = json.loads(whole().encode(events))
    assert add_up(read_stream(streaming().encode(events))) == message


def add_up(events: Sequence[RawMessageStreamEvent]) -> dict[str, object]:
    """Put a message together as the format says, holding the stream to its grammar on the way."""
    message: dict[str, object] = {}
    blocks: list[dict[str, object]] = []
    is_open = False
    for event in events:
        match event.type:
            case "message_start":
                assert message == {}
                message = event.message.model_dump(exclude_unset=True)
                assert message["content"] == []
            case "content_block_start":
                assert (is_open, event.index) == (False, len(blocks))
                is_open = True
                blocks.append(event.content_block.model_dump(exclude_unset=True))
            case "content_block_delta":
                assert (is_open, event.index) == (True, len(blocks) - 1)
                (field, text), *_ = event.delta.model_dump(exclude={"type"}).items()
                if field == "partial_json":
                    blocks[-1]["input"] = json.loads(str(text))
                else:
                    blocks[-1][field] = f"{blocks[-1][field]}{text}"
            case "content_block_stop":
                assert (is_open, event.index) == (True, len(blocks) - 1)
                is_open = False
            case "message_delta":
                assert not is_open
                message |= event.delta.model_dump(exclude_unset=True)
                message["usage"] = event.usage.model_dump(exclude_unset=True)
            case "message_stop":
                assert event is events[-1]
    return {**message, "content": blocks}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (NotAuthenticated("x"), "authentication_error"),
        (NotPermitted("x"), "permission_error"),
        (ModelNotFound("x"), "not_found_error"),
        (PayloadTooLarge("x"), "request_too_large"),
        (ProviderRateLimited("x"), "rate_limit_error"),
        (Overloaded("x"), "overloaded_error"),
        (ProviderUnavailable("x"), "overloaded_error"),
        (ProviderTimeout("x"), "timeout_error"),
        (ProviderError("x"), "api_error"),
        (GatewayError("x"), "api_error"),
    ],
)
def test_the_type_of_an_error_follows_from_its_status(error: GatewayError, kind: str) -> None:
    told = {"type": "error", "error": {"type": kind, "message": "x"}, "request_id": "req_r1"}
    assert json.loads(write_error(error, "r1")) == told
    assert streaming().encode_error(error) == b"event: error\ndata: " + write_error(error, "r1") + b"\n\n"
    assert whole().encode_error(error) == write_error(error, "r1")


def test_an_error_stays_on_one_line_whatever_it_says() -> None:
    assert streaming().encode_error(GatewayError(AWKWARD)).count(b"\n") == 3


def test_new_ids_are_a_prefix_and_24_digits_and_differ() -> None:
    first, second = mint_id("msg"), mint_id("msg")
    assert first != second
    assert len(first) == len("msg_") + 24
    assert int(first.removeprefix("msg_"), 16) >= 0


@pytest.mark.parametrize("model", ["Mistral-Small:Latest", 'odd "name"', "ns/model\u2028", "x\ud800"])
def test_an_answer_repeats_the_model_as_it_was_asked_for(model: str) -> None:
    expected = model.replace("\ud800", "\ufffd")
    head = read_stream(EventEncoder(model, 1, "r").encode([STOP]))[0]
    assert head.type == "message_start"
    assert head.message.model == expected
    assert json.loads(ObjectEncoder(model, "r").encode([STOP]))["model"] == expected
