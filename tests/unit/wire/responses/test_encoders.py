"""Events become exactly the bytes a client of the Responses route expects."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from backend.core.errors import Overloaded
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta, Usage
from backend.llm.types import ToolCall
from backend.wire.responses.encoders import EventEncoder, ObjectEncoder, ReplyHead
from backend.wire.responses.inbound import read_names
from backend.wire.responses.schemas import read_body
from tests.unit.wire.transcripts import GOLDEN

STOP, LENGTH = Finished("stop", Usage(9, 5)), Finished("length", Usage(9, 5))
AWKWARD = 'a\u2028b\u2029c\u0085"\\\n<&>\U0001f600\ud800'
CALL = ToolCall("gSIMJiOkT", "get_weather", {"city": "Paris", "days": [1, 2]})
ASKED: dict[str, Any] = {
    "instructions": "Be brief.",
    "max_output_tokens": 50,
    "temperature": 0.5,
    "reasoning": {"effort": "high"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    "tools": [
        {"type": "namespace", "name": "crm", "description": "d", "tools": [{"type": "function", "name": "find"}]},
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
    ],
    "tool_choice": {"type": "function", "name": "find", "namespace": "crm"},
    "parallel_tool_calls": False,
}
ANSWERS: dict[str, list[ChatEvent]] = {
    "text": [Started("id"), TextDelta("Bon"), TextDelta("jour, été"), STOP],
    "thinking": [Started(), ThinkingDelta("2+"), ThinkingDelta("2"), TextDelta("4"), LENGTH],
    "tools": [TextDelta("Looking."), CALL, ToolCall("", "get_time", {}), STOP],
    "awkward": [TextDelta(AWKWARD), STOP],
    "empty": [Finished("stop")],
    "asked": [ToolCall("c", "crm__find", {"q": "é"}), STOP],
}
every_answer = pytest.mark.parametrize("name", ANSWERS)
read_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def head_of(**asked: Any) -> ReplyHead:
    body = read_body(json.dumps({"model": "m:7b", "input": "hi", **asked}).encode())
    return ReplyHead(body, read_names(body), "7", 1795719248)


def head_for(name: str) -> ReplyHead:
    return head_of(**(ASKED if name == "asked" else {}))


def golden(name: str) -> bytes:
    return (GOLDEN / "responses" / name).read_bytes()


def events_of(written: bytes) -> list[dict[str, Any]]:
    """Return the data of each event; its name must be the type in the data."""
    *blocks, rest = written.split(b"\n\n")
    assert rest == b""
    events = []
    for block in blocks:
        name, data = block.split(b"\n")
        events.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + events[-1]["type"].encode()
    return events


@every_answer
def test_a_streamed_answer_is_its_golden_events(name: str) -> None:
    assert EventEncoder(head_for(name)).encode(ANSWERS[name]) == golden(f"{name}.sse")


@every_answer
def test_a_whole_answer_is_its_golden_object(name: str) -> None:
    assert ObjectEncoder(head_for(name)).encode(ANSWERS[name]) == golden(f"{name}.json")


@every_answer
def test_a_whole_answer_says_nothing_before_the_end(name: str) -> None:
    encoder = ObjectEncoder(head_for(name))
    written = [encoder.encode([event]) for event in ANSWERS[name]]
    assert written == [*([b""] * (len(written) - 1)), golden(f"{name}.json")]


@every_answer
def test_the_events_do_not_depend_on_how_the_answer_was_cut(name: str) -> None:
    encoder = EventEncoder(head_for(name))
    assert b"".join(encoder.encode([event]) for event in ANSWERS[name]) == golden(f"{name}.sse")


@every_answer
def test_the_last_event_holds_what_the_whole_answer_would_be(name: str) -> None:
    assert events_of(golden(f"{name}.sse"))[-1]["response"] == json.loads(golden(f"{name}.json"))


@every_answer
def test_openais_own_types_read_every_event_and_object(name: str) -> None:
    for event in events_of(golden(f"{name}.sse")):
        read_event.validate_python(event)
    Response.model_validate_json(golden(f"{name}.json"))


def test_nothing_is_said_before_there_is_something_to_show() -> None:
    encoder = EventEncoder(head_of())
    assert encoder.encode([Started()]) == b""
    assert events_of(encoder.encode([TextDelta("x")]))[0]["sequence_number"] == 0


@pytest.mark.parametrize("started", [False, True], ids=["before", "after"])
def test_a_failure_is_told_twice_so_that_no_client_takes_it_for_an_end(*, started: bool) -> None:
    encoder = EventEncoder(head_of())
    before = encoder.encode([Started(), ThinkingDelta("t"), TextDelta("x")]) if started else b""
    *_, failed, error = events = events_of(before + encoder.encode_error(Overloaded('it "broke"\u2028')))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": 'it "broke"\u2028'}
    assert [item["type"] for item in failed["response"]["output"]] == (["reasoning"] if started else [])
    assert (error["type"], error["message"]) == ("error", 'it "broke"\u2028')
    assert error["error"]["message"] == error["message"]
    read_event.validate_python(failed)
    read_event.validate_python(error)


def test_a_whole_answer_that_fails_late_is_an_error_object() -> None:
    assert json.loads(ObjectEncoder(head_of()).encode_error(Overloaded("busy")))["error"]["message"] == "busy"


def test_text_after_a_call_is_an_item_of_its_own() -> None:
    written = EventEncoder(head_of()).encode([TextDelta("a"), CALL, TextDelta("b"), STOP])
    output = events_of(written)[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]
    assert len({item["id"] for item in output}) == 3


PIECES = st.one_of(
    st.text(min_size=1, max_size=9).map(TextDelta),
    st.text(min_size=1, max_size=9).map(ThinkingDelta),
    st.builds(ToolCall, st.text(max_size=4), st.text(max_size=4), st.dictionaries(st.text(max_size=3), st.integers())),
)


@given(st.lists(PIECES, max_size=12), st.sampled_from([STOP, LENGTH]), st.data())
def test_any_answer_is_numbered_nested_and_adds_up(pieces: list[ChatEvent], end: Finished, data: st.DataObject) -> None:
    answer: Sequence[ChatEvent] = [Started(), *pieces, end]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=4))) if len(answer) > 1 else []
    encoder = EventEncoder(head_of())
    written = b"".join(encoder.encode(answer[a:b]) for a, b in pairwise([0, *cuts, len(answer)]))
    events = events_of(written)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert all(list(event) == sorted(event) for event in events)
    output = events[-1]["response"]["output"]
    assert json.loads(ObjectEncoder(head_of()).encode(answer)) == events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == output
    for index, item in enumerate(output):
        deltas = [e["delta"] for e in events if e["type"].endswith(".delta") and e["output_index"] == index]
        whole = {"message": lambda i: i["content"][0]["text"], "reasoning": lambda i: i["encrypted_content"]}
        assert "".join(deltas) == whole.get(item["type"], lambda i: i["arguments"])(item)
