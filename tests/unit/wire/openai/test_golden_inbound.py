"""Events become exactly the bytes an OpenAI client expects."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.completion_choice import Logprobs

from backend.core.errors import GatewayError, Overloaded
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta, Usage
from backend.llm.ports import Encoder
from backend.llm.types import ToolCall
from backend.wire.openai.encoders import (
    ChatObjectEncoder,
    ChatStreamEncoder,
    CompletionObjectEncoder,
    CompletionStreamEncoder,
    Heading,
    mint_call_id,
)
from backend.wire.openai.error_reply import write_error
from tests.unit.wire.transcripts import GOLDEN

STOP, LENGTH = Finished("stop", Usage(9, 5)), Finished("length", Usage(9, 5))
LOGPROBS = [
    {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.25}]},
    {"token": "é", "logprob": -1.5},
]
ANSWERS: dict[str, list[ChatEvent]] = {
    "text": [Started("id"), TextDelta("Bon"), TextDelta("jour, été"), STOP],
    "thinking": [Started(), ThinkingDelta("2"), ThinkingDelta("+2"), TextDelta("4"), LENGTH],
    "tools": [
        TextDelta("Looking."),
        ToolCall("gSIMJiOkT", "get_weather", {"city": "Orléans", "days": [1, 2]}),
        ToolCall("", "get_time", {}),
        STOP,
    ],
    "call-alone": [ToolCall("c1", "f", {"a": None}), LENGTH],
    "logprobs": [TextDelta("Hié", LOGPROBS), TextDelta("!"), STOP],
    "awkward": [TextDelta('a\u2028b\u2029c\u0085"\\\n<&>\U0001f600\ud800'), STOP],
    "empty": [Finished("stop", Usage(3, 0))],
    "unmeasured": [TextDelta("x"), Finished("stop")],
}
CHAT = Heading("chatcmpl-1", 1795168800, "m:7b")
COMPLETION = Heading("cmpl-1", 1795168800, "m:7b")
STREAMS: dict[str, Callable[..., Encoder]] = {
    "chat": lambda usage: ChatStreamEncoder(CHAT, include_usage=usage, mint=lambda: "call_0"),
    "completion": lambda usage: CompletionStreamEncoder(COMPLETION, include_usage=usage),
}
OBJECTS: dict[str, Callable[[], Encoder]] = {
    "chat": lambda: ChatObjectEncoder(CHAT, mint=lambda: "call_0"),
    "completion": lambda: CompletionObjectEncoder(COMPLETION),
}
CASES = [
    (route, name) for route in STREAMS for name in ANSWERS if route == "chat" or name not in {"tools", "call-alone"}
]
every_reply = pytest.mark.parametrize(("route", "name"), CASES)


def golden(name: str) -> bytes:
    return (GOLDEN / "inbound-openai" / name).read_bytes()


def chunks(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream that ended well."""
    *events, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


@every_reply
def test_a_streamed_reply_is_its_golden_events(route: str, name: str) -> None:
    assert STREAMS[route](True).encode(ANSWERS[name]) == golden(f"{route}-{name}.sse")


@every_reply
def test_a_whole_reply_is_its_golden_object(route: str, name: str) -> None:
    assert OBJECTS[route]().encode(ANSWERS[name]) == golden(f"{route}-{name}.json")


@every_reply
def test_a_whole_reply_says_nothing_before_the_end(route: str, name: str) -> None:
    encoder = OBJECTS[route]()
    written = [encoder.encode([event]) for event in ANSWERS[name]]
    assert written == [*([b""] * (len(written) - 1)), golden(f"{route}-{name}.json")]


@pytest.mark.parametrize(("route", "name"), [case for case in CASES if case[1] != "tools"])
def test_the_events_do_not_depend_on_how_they_were_batched(route: str, name: str) -> None:
    encoder = STREAMS[route](True)
    assert b"".join(encoder.encode([event]) for event in ANSWERS[name]) == golden(f"{route}-{name}.sse")


@every_reply
def test_without_being_asked_nothing_is_told_about_tokens(route: str, name: str) -> None:
    told = chunks(STREAMS[route](False).encode(ANSWERS[name]))
    assert told == chunks(golden(f"{route}-{name}.sse"))[:-1]
    assert all("usage" not in chunk for chunk in told)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "empty"])
def test_only_the_first_delta_names_the_role(name: str) -> None:
    deltas = [c["choices"][0]["delta"] for c in chunks(golden(f"chat-{name}.sse")) if c["choices"]]
    assert [delta.get("role") for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
    assert deltas[-1] == {}
    assert all(isinstance(delta["content"], str) for delta in deltas[:-1])


def test_calls_of_several_reads_keep_counting_and_each_gets_an_id_of_its_own() -> None:
    encoder = ChatStreamEncoder(CHAT, include_usage=False)
    told = chunks(encoder.encode([ToolCall("", "x", {})]) + encoder.encode([ToolCall("", "y", {}), STOP]))
    calls = [call for c in told for call in c["choices"][0]["delta"].get("tool_calls", [])]
    assert [call["index"] for call in calls] == [0, 1]
    assert len({call["id"] for call in calls}) == 2
    assert told[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_minted_id_is_a_word_and_never_the_same() -> None:
    first, second = mint_call_id(), mint_call_id()
    assert first != second
    assert first.startswith("call_")
    assert int(first.removeprefix("call_"), 16) >= 0


def test_two_replies_never_share_an_id() -> None:
    first, second = (Heading.begin("chatcmpl", "m") for _ in range(2))
    assert first.response_id != second.response_id
    assert first.response_id.startswith("chatcmpl-")


@pytest.mark.parametrize("route", STREAMS)
@pytest.mark.parametrize("error", [GatewayError('it "broke"\u2028\ud800'), Overloaded("busy", retry_after=1)])
def test_a_failure_in_mid_answer_is_an_event_with_an_error_and_no_end_mark(route: str, error: GatewayError) -> None:
    encoder = STREAMS[route](True)
    encoder.encode([TextDelta("x")])
    written = encoder.encode_error(error)
    assert written == b"data: " + write_error(error) + b"\n\n"
    told = json.loads(written[6:])["error"]
    assert told["message"] == error.message.replace("\ud800", "\ufffd")
    assert told["type"] == "api_error"
    assert OBJECTS[route]().encode_error(error) == write_error(error)


@pytest.mark.parametrize("model", ["Mistral-Small:Latest", 'odd "name"', "ns/model\u2028", "x\ud800"])
def test_a_reply_echoes_the_model_as_it_was_asked_for(model: str) -> None:
    expected = model.replace("\ud800", "\ufffd")
    heading = Heading("i", 1, model)
    stream = ChatStreamEncoder(heading, include_usage=True).encode([TextDelta("a"), TextDelta("b"), STOP])
    assert {chunk["model"] for chunk in chunks(stream)} == {expected}
    assert json.loads(CompletionObjectEncoder(heading).encode([STOP]))["model"] == expected


@pytest.mark.parametrize("kind", ["sse", "json"])
def test_the_log_probabilities_of_a_text_are_what_openais_type_for_them_holds(kind: str) -> None:
    data = golden(f"completion-logprobs.{kind}")
    choice = (chunks(data)[0] if kind == "sse" else json.loads(data))["choices"][0]
    told = Logprobs.model_validate(choice["logprobs"], strict=True)
    assert (told.tokens, told.token_logprobs, told.top_logprobs) == (["Hi", "é"], [-0.25, -1.5], [{"Hi": -0.25}, {}])


@pytest.mark.parametrize("tops", [None, 5, "x", {}, [1, None, "x"], [{"token": 1, "logprob": "x", "bytes": {}}]])
def test_what_an_upstream_makes_of_log_probabilities_breaks_no_reply(tops: Any) -> None:
    entry = {"token": None, "logprob": None, "bytes": "x", "top_logprobs": tops}
    for encoder in (*(make(usage=False) for make in STREAMS.values()), *(make() for make in OBJECTS.values())):
        reply = encoder.encode([TextDelta("x", [entry]), STOP])
        assert b'"logprob":0.0' in reply
