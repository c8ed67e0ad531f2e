"""Events become exactly the bytes an Ollama client expects."""

import json

import pytest

from backend.core.errors import GatewayError, Overloaded
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta, Timings, Usage
from backend.llm.types import ToolCall
from backend.wire.ollama.encoders import CHAT, GENERATE, LineEncoder, ObjectEncoder, Shape
from backend.wire.ollama.errors import write_error
from tests.unit.wire.transcripts import GOLDEN, StoppedClock

USAGE, TIMINGS = Usage(9, 5), Timings(load_ns=100, prompt_ns=150, completion_ns=120, total_ns=400)
STOP, LENGTH = Finished("stop", USAGE, TIMINGS), Finished("length", USAGE, TIMINGS)
LOGPROBS = [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.25}]}]
AWKWARD = 'a\u2028b\u2029c\u0085"\\\n<&>\U0001f600\ud800'
ANSWERS: dict[str, list[ChatEvent]] = {
    "text": [Started("id"), TextDelta("Bon"), TextDelta("jour, été"), STOP],
    "thinking": [Started(), ThinkingDelta("2+2"), TextDelta("4"), LENGTH],
    "tools": [
        TextDelta("Looking."),
        ToolCall("gSIMJiOkT", "get_weather", {"city": "Paris", "days": [1, 2]}),
        ToolCall("", "get_time", {}),
        STOP,
    ],
    "logprobs": [TextDelta("Hi", LOGPROBS), STOP],
    "awkward": [TextDelta(AWKWARD), STOP],
    "unmeasured": [Finished("stop")],
}
CASES = [
    (route, shape, name)
    for route, shape in (("chat", CHAT), ("generate", GENERATE))
    for name in ANSWERS
    if (route, name) != ("generate", "tools")
]
every_reply = pytest.mark.parametrize(("route", "shape", "name"), CASES, ids=lambda value: str(value)[:20])


def golden(name: str) -> bytes:
    return (GOLDEN / "inbound" / name).read_bytes()


@every_reply
def test_a_streamed_reply_is_its_golden_lines(route: str, shape: Shape, name: str) -> None:
    encoder = LineEncoder("m:7b", shape, StoppedClock())
    assert encoder.encode(ANSWERS[name]) == golden(f"{route}-{name}.ndjson")


@every_reply
def test_a_whole_reply_is_its_golden_object(route: str, shape: Shape, name: str) -> None:
    encoder = ObjectEncoder("m:7b", shape, StoppedClock())
    assert encoder.encode(ANSWERS[name]) == golden(f"{route}-{name}.json")


@every_reply
def test_a_whole_reply_says_nothing_before_the_end(route: str, shape: Shape, name: str) -> None:
    encoder = ObjectEncoder("m:7b", shape, StoppedClock())
    written = [encoder.encode([event]) for event in ANSWERS[name]]
    assert written == [*([b""] * (len(written) - 1)), golden(f"{route}-{name}.json")]


@pytest.mark.parametrize(("route", "shape", "name"), [case for case in CASES if case[2] != "tools"])
def test_the_lines_do_not_depend_on_how_events_were_batched(route: str, shape: Shape, name: str) -> None:
    encoder = LineEncoder("m:7b", shape, StoppedClock())
    assert b"".join(encoder.encode([event]) for event in ANSWERS[name]) == golden(f"{route}-{name}.ndjson")


@pytest.mark.parametrize("path", sorted((GOLDEN / "inbound").glob("*.*json")), ids=lambda path: path.name)
def test_every_golden_line_is_json_without_a_null(path: str) -> None:
    def refuse_null(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert all(value is not None for _, value in pairs)
        return dict(pairs)

    for line in golden(str(path)).splitlines():
        json.loads(line, object_pairs_hook=refuse_null)


@pytest.mark.parametrize("encoder", [LineEncoder, ObjectEncoder])
@pytest.mark.parametrize("error", [GatewayError('it "broke"\u2028\ud800'), Overloaded("busy", retry_after=1)])
def test_an_error_is_one_string_under_error(
    encoder: type[LineEncoder] | type[ObjectEncoder], error: GatewayError
) -> None:
    written = encoder("m", CHAT, StoppedClock()).encode_error(error)
    assert json.loads(written) == {"error": error.message.replace("\ud800", "\ufffd")}
    assert written.count(b"\n") == (1 if encoder is LineEncoder else 0)
    assert write_error(error) == written.rstrip(b"\n")


def test_calls_keep_counting_when_they_come_in_several_reads() -> None:
    encoder = LineEncoder("m", CHAT, StoppedClock())
    written = encoder.encode([ToolCall("a", "x", {})]) + encoder.encode([ToolCall("b", "y", {})])
    calls = [call for line in written.splitlines() for call in json.loads(line)["message"]["tool_calls"]]
    assert [call["function"]["index"] for call in calls] == [0, 1]


@pytest.mark.parametrize(
    ("timings", "expected"),
    [
        (Timings(), (3, 1, 1, 1)),
        (Timings(load_ns=0, prompt_ns=0, completion_ns=0, total_ns=0), (3, 1, 1, 1)),
        (Timings(load_ns=-5, prompt_ns=-5, completion_ns=-5, total_ns=-5), (3, 1, 1, 1)),
        (Timings(load_ns=10, prompt_ns=20, completion_ns=30, total_ns=5), (60, 10, 20, 30)),
        (Timings(load_ns=1, prompt_ns=2, completion_ns=3, total_ns=100), (100, 1, 2, 3)),
    ],
)
def test_durations_are_whole_positive_and_add_up(timings: Timings, expected: tuple[int, ...]) -> None:
    reply = json.loads(ObjectEncoder("m", CHAT, StoppedClock()).encode([Finished("stop", Usage(), timings)]))
    names = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    assert tuple(reply[name] for name in names) == expected


@pytest.mark.parametrize("model", ["Mistral-Small:Latest", 'odd "name"', "ns/model\u2028", "x\ud800"])
@pytest.mark.parametrize("shape", [CHAT, GENERATE])
def test_a_reply_echoes_the_model_as_it_was_asked_for(model: str, shape: Shape) -> None:
    expected = model.replace("\ud800", "\ufffd")
    lines = LineEncoder(model, shape, StoppedClock()).encode([TextDelta("a"), ThinkingDelta("b"), STOP])
    assert [json.loads(line)["model"] for line in lines.splitlines()] == [expected] * 3
    assert json.loads(ObjectEncoder(model, shape, StoppedClock()).encode([STOP]))["model"] == expected
