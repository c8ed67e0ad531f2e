"""Every field of a chat-completions answer arrives where an Ollama client reads it."""

import json
from typing import Any

import pytest

from backend.llm.events import Finished, TextDelta, ThinkingDelta, Timings, Usage
from backend.llm.lead_in import EchoedPrefix, ThinkTags
from backend.llm.types import ToolCall
from backend.wire.openai.chunks import ChunkDecoder
from tests.unit.wire.transcripts import MAX_LINE, Heard, listen

DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return event({"object": "chat.completion.chunk", "choices": [choice], **fields})


def hear(*events: bytes, decoder: ChunkDecoder | None = None) -> Heard:
    return listen(decoder or ChunkDecoder("up", MAX_LINE), events)


def finish(*events: bytes) -> Finished:
    heard = hear(*events)
    assert heard.error is None
    last = heard.events[-1]
    assert isinstance(last, Finished)
    return last


STOP = chunk(finish="stop")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("stop", "stop"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("content_filter", "stop"),
        ("something_new", "stop"),
        ("length", "length"),
        ("model_length", "length"),
    ],
)
def test_a_reason_to_end_is_one_ollama_knows(reason: str, told: str) -> None:
    assert finish(chunk(finish=reason), DONE).reason == told
    assert finish(chunk(finish=reason)).reason == told


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_failed_answer_is_an_error(reason: str) -> None:
    heard = hear(chunk({"content": "Par"}), chunk(finish=reason), DONE)
    assert heard.events == [TextDelta("Par")]
    assert heard.error == "backend 'up' failed while answering; try again"


@pytest.mark.parametrize(
    "events",
    [
        (),
        (chunk({"content": "Par"}),),
        (chunk({"content": "Par"}), b"data: {"),
        (DONE,),
        (event({"choices": [], "usage": {"prompt_tokens": 1}}), DONE),
    ],
    ids=["empty", "cut", "cut-in-an-event", "only-done", "only-usage"],
)
def test_an_answer_without_an_end_is_an_error(events: tuple[bytes, ...]) -> None:
    assert hear(*events).error is not None


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b"null", b'{"choices": 1}', b"\xff", b'{"choices":' + b"[" * 9_999, b'{"object": "x"']
)
def test_an_answer_that_cannot_be_read_is_an_error(payload: bytes) -> None:
    heard = hear(chunk({"content": "a"}), event(payload))
    assert heard.events == [TextDelta("a")]
    assert heard.error == "backend 'up' sent an unreadable answer; try again"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Compute error."}},
        {"error": "Compute error."},
        {"object": "error", "message": "Compute error.", "code": "1000"},
        {"error": {"message": "Compute error."}, "message": "Compute error."},
    ],
)
def test_an_error_in_mid_answer_is_told_with_its_words(body: dict[str, Any]) -> None:
    heard = hear(chunk({"content": "a"}), event(body), DONE)
    assert heard.events == [TextDelta("a")]
    assert heard.error == "backend 'up' failed while answering: Compute error."


def test_what_came_before_an_error_in_the_same_read_is_told_first() -> None:
    decoder = ChunkDecoder("up", MAX_LINE)
    assert decoder.feed(chunk({"content": "a"}) + event({"error": "x"})) == [TextDelta("a")]
    assert decoder.failure is not None


@pytest.mark.parametrize(
    ("delta", "events"),
    [
        ({"content": "a"}, [TextDelta("a")]),
        ({"content": ""}, []),
        ({"content": None}, []),
        ({"role": "assistant"}, []),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, [TextDelta("a"), TextDelta("b")]),
        ({"content": [{"type": "reference", "text": "x"}, {"type": "tool_file"}]}, []),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"text": "m"}]}]},
            [ThinkingDelta("hm")],
        ),
        ({"content": [{"type": "thinking", "thinking": [], "closed": True}]}, []),
        ({"content": [{"type": "thinking", "thinking": "hm"}]}, [ThinkingDelta("hm")]),
        ({"reasoning": "hm"}, [ThinkingDelta("hm")]),
        ({"reasoning_content": "hm"}, [ThinkingDelta("hm")]),
        ({"reasoning": "hm", "reasoning_content": "hm"}, [ThinkingDelta("hm")]),
        ({"reasoning": None, "reasoning_content": "hm", "content": "a"}, [ThinkingDelta("hm"), TextDelta("a")]),
    ],
)
def test_words_and_thoughts_are_found_where_servers_put_them(delta: dict[str, Any], events: list[Any]) -> None:
    assert hear(chunk(delta), STOP).events[:-1] == events


def test_padding_and_unknown_fields_are_passed_over() -> None:
    heard = hear(chunk({"content": "a", "x": 1}, p="abc", obfuscation="zz", usage=None, service_tier=None), STOP)
    assert heard.events[0] == TextDelta("a")


def test_a_whole_answer_in_one_event_is_read_too() -> None:
    body = {"choices": [{"message": {"content": "4", "reasoning": "hm"}, "finish_reason": "stop"}]}
    assert hear(event(body)).events[:2] == [ThinkingDelta("hm"), TextDelta("4")]


def test_a_plain_completion_is_read_from_its_text() -> None:
    body = {"choices": [{"text": "ab", "finish_reason": None}]}
    assert hear(event(body), event({"choices": [{"text": "", "finish_reason": "stop"}]})).events[0] == TextDelta("ab")


def test_calls_come_once_and_whole_before_the_end() -> None:
    pieces = [
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}, {"index": 1, "id": "b"}]},
        {"tool_calls": [{"index": 1, "function": {"name": "g", "arguments": {"y": 2}}}]},
    ]
    heard = hear(*(chunk(piece) for piece in pieces), chunk(finish="tool_calls"), DONE)
    assert heard.events[:-1] == [ToolCall("a", "f", {"x": 1}), ToolCall("b", "g", {"y": 2})]


def test_arguments_that_are_no_json_are_an_error() -> None:
    delta = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{oops"}}]}
    heard = hear(chunk({"content": "a"}), chunk(delta), chunk(finish="tool_calls"), DONE)
    assert heard.events == [TextDelta("a")]
    assert heard.error is not None
    assert "invalid tool call arguments" in heard.error


@pytest.mark.parametrize(
    ("events", "usage"),
    [
        ((chunk(finish="stop", usage={"prompt_tokens": 9, "completion_tokens": 3}),), Usage(9, 3)),
        ((STOP, event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})), Usage(9, 3)),
        ((STOP,), Usage()),
        ((chunk({"content": "a"}, usage={"prompt_tokens": 1}), STOP), Usage(1)),
        ((chunk(finish="stop", usage={"prompt_tokens": -1, "completion_tokens": 1e30}),), Usage()),
        ((chunk(finish="stop", usage={"prompt_tokens": True, "completion_tokens": "3"}),), Usage()),
        ((chunk(finish="stop", usage={"prompt_tokens": 9.0, "completion_tokens": None}),), Usage(9)),
        (
            (
                chunk(
                    finish="stop",
                    usage={"prompt_tokens": 9, "completion_tokens": 9},
                    timings={"cache_n": 2, "prompt_n": 3, "predicted_n": 4},
                ),
            ),
            Usage(5, 4),
        ),
        ((chunk(finish="stop", timings={"prompt_n": 3, "predicted_n": 4}),), Usage(3, 4)),
    ],
)
def test_tokens_are_counted_by_the_upstream_or_not_at_all(events: tuple[bytes, ...], usage: Usage) -> None:
    assert finish(*events, DONE).usage == usage


def test_llamacpps_times_are_told_in_nanoseconds() -> None:
    timings = {"prompt_n": 1, "predicted_n": 1, "prompt_ms": 30.958, "predicted_ms": 661.064}
    done = finish(chunk(finish="stop", timings=timings), DONE)
    assert done.timings == Timings(prompt_ns=30_958_000, completion_ns=661_064_000)
    assert finish(chunk(finish="stop", timings={"prompt_ms": "x"}), DONE).timings == Timings()


@pytest.mark.parametrize("value", ["1e300", "null", '"5"'])
def test_times_that_cannot_be_are_not_told(value: str) -> None:
    last = b'{"choices":[{"finish_reason":"stop"}],"timings":{"prompt_ms":%s,"predicted_ms":%s}}'
    assert finish(event(last.replace(b"%s", value.encode()))).timings == Timings()


def test_vllms_times_are_told_in_nanoseconds() -> None:
    metrics = {"time_to_first_token_ms": 50.0, "generation_time_ms": 200.0, "queue_time_ms": 20.0}
    last = event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}, "metrics": metrics})
    done = finish(STOP, last, DONE)
    assert done.timings == Timings(load_ns=20_000_000, prompt_ns=30_000_000, completion_ns=200_000_000)


LOGPROB = {
    "token": "a",
    "logprob": -0.5,
    "bytes": [97],
    "token_id": 5,
    "top_logprobs": [{"token": "b", "logprob": -1.0, "bytes": None}],
}
KEPT = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}]


def told(delta: dict[str, Any], logprobs: Any) -> bytes:
    return event({"choices": [{"delta": delta, "logprobs": logprobs}]})


@pytest.mark.parametrize("decoder", [ChunkDecoder("up", MAX_LINE), ChunkDecoder("up", MAX_LINE, ThinkTags())])
def test_logprobs_ride_on_the_line_of_their_token(decoder: ChunkDecoder) -> None:
    heard = hear(told({"content": "a"}, {"content": [LOGPROB]}), told({"content": "b"}, None), STOP, decoder=decoder)
    assert heard.events[:2] == [TextDelta("a", KEPT), TextDelta("b")]


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}])
def test_no_logprobs_means_no_field(logprobs: Any) -> None:
    assert hear(told({"content": "a"}, logprobs), STOP).events[0] == TextDelta("a")


@pytest.mark.parametrize("tops", [5, "x", {}, [1, None]])
def test_a_strange_list_of_likely_tokens_is_left_out(tops: Any) -> None:
    entry = {"token": "a", "logprob": -0.5, "top_logprobs": tops}
    heard = hear(told({"content": "a"}, {"content": [entry]}), STOP)
    assert heard.events[0] == TextDelta("a", [{"token": "a", "logprob": -0.5}])


def test_what_a_lead_in_held_back_is_told_at_the_end() -> None:
    decoder = ChunkDecoder("up", MAX_LINE, EchoedPrefix("Paris is"))
    assert hear(chunk({"content": "Par"}), STOP, decoder=decoder).events[0] == TextDelta("Par")


def test_what_follows_the_end_is_passed_over() -> None:
    decoder = ChunkDecoder("up", MAX_LINE)
    assert len(decoder.feed(chunk({"content": "a"}) + STOP + DONE + event(b"{"))) == 2
    assert decoder.finished
    assert decoder.feed(chunk({"content": "b"})) == []
    assert decoder.close() == []
