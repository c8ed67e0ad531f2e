"""An Ollama answer passes untouched, in whole lines, and its end, error or cut is noticed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.errors import ProviderProtocolError
from backend.wire.ollama.upstream import LineTap
from tests.unit.wire.transcripts import GOLDEN, cut

WORD = b'{"model":"m","message":{"role":"assistant","content":"a"},"done":false}\n'
END = b'{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":3}\n'
ERROR = b'{"error":"runner died"}\n'
SPACED = b'{"message": {"content": "a"}, "done": false}\n'
SPACED_END = b'{"message": {"content": ""}, "done": true, "eval_count": 3}\n'


def tap(data: bytes, places: list[int]) -> tuple[bytes, LineTap]:
    """Read an answer the way a stream does: a failure or the end stops it."""
    found = LineTap("up", 10_000)
    written = b""
    for piece in cut(data, places):
        written += found.feed(piece)
        assert written == b"" or written.endswith(b"\n")
        if found.finished or found.failure:
            return written, found
    return written + found.close(), found


cuts = st.lists(st.integers(1, 600), max_size=8)


@pytest.mark.parametrize("path", sorted((GOLDEN / "ollama").glob("*.ndjson")), ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1, 50, 100_000])
def test_a_golden_answer_passes_untouched(path: object, step: int) -> None:
    data = (GOLDEN / "ollama" / str(path)).read_bytes()
    written, found = tap(data, list(range(0, len(data), step)))
    if b'"done":true' in data:
        assert written == data
        assert found.finished
        assert found.last_line()["done"] is True
    else:
        assert found.failure is not None
        assert data.startswith(written)
        assert b'{"error"' not in written


@given(st.integers(0, 5), cuts)
def test_an_answer_passes_untouched_at_any_cut(count: int, places: list[int]) -> None:
    data = WORD * count + END
    written, found = tap(data, places)
    assert written == data
    assert found.finished
    assert found.failure is None
    assert found.last_line()["eval_count"] == 3


@given(st.integers(0, 5), cuts)
def test_an_error_line_is_kept_back_at_any_cut(count: int, places: list[int]) -> None:
    written, found = tap(WORD * count + ERROR, places)
    assert written == WORD * count
    assert not found.finished
    assert found.failure is not None
    assert found.failure.message == "backend 'up' failed while answering: runner died"
    assert found.last_line() == {}


@given(st.integers(0, 3), st.integers(0, len(WORD) - 1), cuts)
def test_a_cut_answer_is_an_error_and_its_torn_line_stays_back(count: int, torn: int, places: list[int]) -> None:
    written, found = tap(WORD * count + WORD[:torn], places)
    assert written == WORD * count
    assert found.failure is not None


@given(cuts)
def test_spaced_json_is_understood_at_any_cut(places: list[int]) -> None:
    written, found = tap(SPACED * 2 + SPACED_END, places)
    assert written == SPACED * 2 + SPACED_END
    assert found.finished


@pytest.mark.parametrize(
    "arguments",
    [{"done": True}, {"error": "x"}, {"a": {"done": True}}, {"text": '"done":true}\n{"error":"x"}'}],
)
def test_words_inside_arguments_are_not_mistaken_for_the_end(arguments: object) -> None:
    call = {"function": {"index": 0, "name": "f", "arguments": arguments}}
    for separators in ((",", ":"), (", ", ": ")):
        line = json.dumps({"message": {"content": "", "tool_calls": [call]}, "done": False}, separators=separators)
        data = line.encode() + b"\n"
        found = LineTap("up", 10_000)
        assert found.feed(data) == data
        assert not found.finished
        assert found.failure is None


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n"])
def test_the_last_line_counts_with_or_without_its_end(tail: bytes) -> None:
    data = WORD + END.rstrip(b"\n") + tail
    for step in (1, 10_000):
        written, found = tap(data, list(range(0, len(data), step)))
        assert written == data
        assert found.finished


@pytest.mark.parametrize(
    "data", [b"<html>\n", b"\xff\n", b"[]\n", b'{"done":1}\n', b'{"a":' + b"[" * 9_000 + b"\n", b"{"]
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    written, found = tap(WORD + data, [])
    assert written == WORD
    assert found.failure is not None


@pytest.mark.parametrize("step", [1, 700])
def test_a_line_over_the_limit_is_refused(step: int) -> None:
    found = LineTap("up", 1_000)
    pieces = cut(b"x" * 3_000, range(0, 3_000, step))
    with pytest.raises(ProviderProtocolError, match="more than 1000 bytes"):
        b"".join(map(found.feed, pieces))


def test_an_answer_of_many_lines_is_not_too_long() -> None:
    found = LineTap("up", 200)
    assert found.feed(WORD * 100) == WORD * 100


def test_what_the_end_said_is_empty_before_it_came() -> None:
    assert LineTap("up", 100).last_line() == {}
