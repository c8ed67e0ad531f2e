"""Bytes become lines and events, whatever the cuts, line ends and comments, in bounded memory and linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.errors import ProviderProtocolError
from backend.wire.framing import EventSplitter, LineSplitter
from tests.unit.wire.transcripts import cut

LIMIT = 1_000
cuts = st.lists(st.integers(1, 400), max_size=10)
LINE_PIECES = st.sampled_from(["a", "é", "\u2028", "\u2029", "\u0085", "\x0b", "\x1c", " ", ":", "data", "\U0001f600"])
lines = st.lists(st.lists(LINE_PIECES, max_size=6).map("".join), max_size=8)
Splitter = LineSplitter | EventSplitter


def split(splitter: Splitter, data: bytes, places: list[int]) -> list[bytes]:
    return [part for piece in cut(data, places) for part in splitter.feed(piece)] + splitter.close()


@given(lines, st.sampled_from(["\n", "\r\n"]), cuts)
def test_lines_end_at_line_feeds_alone(texts: list[str], end: str, places: list[int]) -> None:
    data = "".join(text + end for text in texts).encode()
    assert split(LineSplitter(LIMIT), data, places) == [text.encode() for text in texts]


@given(lines, st.binary(min_size=1, max_size=20).filter(lambda rest: not set(rest) & set(b"\r\n")), cuts)
def test_the_last_line_needs_no_end(texts: list[str], rest: bytes, places: list[int]) -> None:
    data = "".join(f"{text}\n" for text in texts).encode() + rest
    assert split(LineSplitter(LIMIT), data, places) == [*(text.encode() for text in texts), rest]


@pytest.mark.parametrize("splitter", [LineSplitter, EventSplitter])
def test_nothing_in_gives_nothing_out(splitter: type[Splitter]) -> None:
    assert splitter(LIMIT).feed(b"") == []
    assert splitter(LIMIT).close() == []


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="line-feeds"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="carriage-returns"),
        pytest.param(b"data:a\n\ndata:  b\n\n", [b"a", b" b"], id="one-space-belongs-to-the-field"),
        pytest.param(b": ping\n\n:\n\ndata: a\n: in between\n\n", [b"a"], id="comments"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="several-lines"),
        pytest.param(b"event: x\nid: 1\nretry: 3\ndata: a\n\n", [b"a"], id="other-fields"),
        pytest.param(b"\n\n\n\ndata: a\n\n\n\n", [b"a"], id="blank-lines"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [b"a"], id="byte-order-mark"),
        pytest.param(b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"], id="byte-order-mark-only-at-the-start"),
        pytest.param(b"data: a", [b"a"], id="cut-before-the-line-end"),
        pytest.param(b"data: a\n", [b"a"], id="cut-before-the-blank-line"),
        pytest.param(b"data: a\r", [b"a"], id="cut-inside-the-line-end"),
        pytest.param(b"data:\n\n", [b""], id="empty-data"),
        pytest.param("data: a\u2028b\u0085\n\n".encode(), ["a\u2028b\u0085".encode()], id="unicode-separators"),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 1_000])
def test_events_are_read_as_the_standard_says(stream: bytes, payloads: list[bytes], step: int) -> None:
    assert split(EventSplitter(LIMIT), stream, list(range(0, len(stream), step))) == payloads


@given(st.lists(st.lists(LINE_PIECES, max_size=5).map("".join), max_size=6), st.sampled_from(["\n", "\r\n"]), cuts)
def test_events_do_not_depend_on_the_cuts(texts: list[str], end: str, places: list[int]) -> None:
    data = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    assert split(EventSplitter(LIMIT), data, places) == [text.encode() for text in texts]


@pytest.mark.parametrize("splitter", [LineSplitter, EventSplitter])
@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("step", [1, 333, 100_000])
def test_a_line_over_the_limit_is_refused(splitter: type[Splitter], end: bytes, step: int) -> None:
    data = b"data: " + b"x" * LIMIT + end
    with pytest.raises(ProviderProtocolError, match="more than 1000 bytes"):
        split(splitter(LIMIT), data, list(range(0, len(data), step)))


@pytest.mark.parametrize("step", [1, 100_000])
def test_lines_up_to_the_limit_pass(step: int) -> None:
    data = (b"x" * LIMIT + b"\n") * 3
    assert split(LineSplitter(LIMIT), data, list(range(0, len(data), step))) == [b"x" * LIMIT] * 3


@pytest.mark.parametrize("step", [100, 100_000])
def test_an_event_of_many_lines_is_bounded_too(step: int) -> None:
    line = b"data: " + b"x" * 100 + b"\n"
    with pytest.raises(ProviderProtocolError, match="more than 1000 bytes"):
        split(EventSplitter(LIMIT), line * 100, list(range(0, 10_000, step)))


def test_a_long_line_in_small_pieces_costs_linear_time() -> None:
    splitter = LineSplitter(10_000_000)
    started = time.process_time()
    for _ in range(200_000):
        splitter.feed(b"x" * 20)
    assert splitter.feed(b"\n") == [b"x" * 4_000_000]
    assert time.process_time() - started < 2
