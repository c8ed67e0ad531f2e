"""What we write as an Ollama server, we read as an Ollama client: the same events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta, Timings, Usage
from backend.llm.types import ToolCall
from backend.wire.jsontext import replace_surrogates
from backend.wire.ollama.encoders import CHAT, GENERATE, LineEncoder, Shape
from backend.wire.ollama.upstream import LineDecoder, LineTap
from tests.unit.wire.transcripts import StoppedClock, cut, listen

AWKWARD = st.sampled_from(["\u2028", "\u2029", "\u0085", "\ud83d", "\ude00", "\U0001f600", '"', "\\", "\n", "\r", "\0"])
texts = st.lists(st.one_of(AWKWARD, st.text(max_size=8)), min_size=1, max_size=4).map("".join).filter(bool)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
logprobs = st.lists(st.fixed_dictionaries({"token": texts, "logprob": st.floats(-50, 0)}), min_size=1, max_size=2)
words: st.SearchStrategy[ChatEvent] = st.one_of(
    st.builds(TextDelta, texts, st.none() | logprobs), st.builds(ThinkingDelta, texts)
)
calls = st.builds(ToolCall, texts, texts, st.dictionaries(texts, values, max_size=3))
counts = st.integers(1, 100_000_000)
positive = st.integers(1, 2**40)
durations = st.builds(Timings, positive, positive, positive, st.integers(2**42, 2**43))
ends = st.builds(Finished, st.sampled_from(["stop", "length"]), st.builds(Usage, counts, counts), durations)
cuts = st.lists(st.integers(1, 3_000), max_size=8)


def readable(event: ChatEvent) -> ChatEvent:
    """Return what can be said in JSON text: a lone surrogate cannot."""
    if isinstance(event, TextDelta):
        return TextDelta(replace_surrogates(event.text), replace_surrogates(event.logprobs))
    if isinstance(event, ThinkingDelta):
        return ThinkingDelta(replace_surrogates(event.text))
    if isinstance(event, ToolCall):
        return ToolCall(*(replace_surrogates(part) for part in (event.call_id, event.name, event.arguments)))
    return event


def loop(events: list[ChatEvent], shape: Shape, places: list[int]) -> list[ChatEvent]:
    written = LineEncoder("m", shape, StoppedClock()).encode(events)
    assert all(character not in written.decode() for character in "\u2028\u2029\u0085")
    heard = listen(LineDecoder("up", 10_000_000), cut(written, places))
    assert heard.error is None
    tap = LineTap("up", 10_000_000)
    assert b"".join(tap.feed(piece) for piece in cut(written, places)) + tap.close() == written
    assert tap.finished
    return heard.events


@given(st.lists(words, max_size=6), st.lists(calls, max_size=3), ends, cuts)
def test_a_chat_reply_is_read_back_as_it_was_meant(
    said: list[ChatEvent], called: list[ToolCall], end: Finished, places: list[int]
) -> None:
    events = [*said, *called, end]
    assert loop([Started("id"), *events], CHAT, places) == [readable(event) for event in events]


@given(st.lists(words, max_size=6), ends, cuts)
def test_a_generate_reply_is_read_back_as_it_was_meant(said: list[Any], end: Finished, places: list[int]) -> None:
    assert loop([*said, end], GENERATE, places) == [readable(event) for event in [*said, end]]


CALL, OTHER = ToolCall("a", "x", {}), ToolCall("b", "y", {})
END = Finished("stop", Usage(1, 1), Timings(1, 1, 1, 3))


@pytest.mark.parametrize(
    "said",
    [
        [CALL, TextDelta("a")],
        [CALL, TextDelta("a", [{"token": "a", "logprob": -1.0}])],
        [CALL, ThinkingDelta("a")],
        [CALL, TextDelta("a"), OTHER],
        [TextDelta("a"), CALL, OTHER, TextDelta("b")],
    ],
)
def test_calls_and_words_keep_their_order(said: list[ChatEvent]) -> None:
    assert loop([*said, END], CHAT, []) == [*said, END]
