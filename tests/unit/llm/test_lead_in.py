"""Think tags and echoed prefixes are taken out of the beginning of an answer, wherever it was cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.events import TextDelta, ThinkingDelta
from backend.llm.lead_in import EchoedPrefix, LeadIn, ThinkTags

THOUGHTS = [
    pytest.param("hello", "", "hello", id="no-tags"),
    pytest.param("<think>hm</think>4", "hm", "4", id="tags"),
    pytest.param(" \n<think>\n hm \n</think>\n\n4 ", "hm \n", "4 ", id="white-space-belongs-to-the-tags"),
    pytest.param("<think></think>4", "", "4", id="empty-thought"),
    pytest.param("<think> \n </think>\n4", "", "4", id="blank-thought"),
    pytest.param("<think>a < b </thin no</think>1 < 2", "a < b </thin no", "1 < 2", id="almost-tags-inside"),
    pytest.param("<think>hm", "hm", "", id="never-closed"),
    pytest.param("<think>hm</thi", "hm</thi", "", id="cut-in-the-closing-tag"),
    pytest.param("<think>hm</think>", "hm", "", id="nothing-after"),
    pytest.param("<think>hm</think> \n ", "hm", "", id="blank-after"),
    pytest.param("<think>", "", "", id="nothing-inside"),
    pytest.param("<thi", "", "<thi", id="cut-in-the-opening-tag"),
    pytest.param("<thinker> x", "", "<thinker> x", id="another-tag"),
    pytest.param("  hello", "", "  hello", id="leading-space-is-kept"),
    pytest.param("  ", "", "  ", id="only-space"),
    pytest.param("", "", "", id="nothing"),
    pytest.param("a<think>b</think>", "", "a<think>b</think>", id="not-at-the-start"),
    pytest.param("<think>a</think>b<think>c</think>", "a", "b<think>c</think>", id="only-once"),
]


def read(lead_in: LeadIn, pieces: list[str]) -> tuple[str, str]:
    """Return the thinking and the text; pieces after the lead-in is done pass it by, as in a decoder."""
    events: list[TextDelta | ThinkingDelta] = []
    for piece in pieces:
        events += [TextDelta(piece)] if lead_in.done else lead_in.feed(piece)
    if not lead_in.done:
        events += lead_in.close()
    assert lead_in.done
    assert all(event.text for event in events)
    kinds = [type(event) for event in events]
    assert kinds == sorted(kinds, key=lambda kind: kind is TextDelta)
    thinking = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    return thinking, "".join(event.text for event in events if isinstance(event, TextDelta))


def pieces(text: str, *places: int) -> list[str]:
    edges = [0, *sorted(places), len(text)]
    return [text[start:end] for start, end in pairwise(edges) if end > start]


@pytest.mark.parametrize(("text", "thinking", "said"), THOUGHTS)
def test_a_thought_is_told_apart_at_every_cut(text: str, thinking: str, said: str) -> None:
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            assert read(ThinkTags(), pieces(text, first, second)) == (thinking, said)
    assert read(ThinkTags(), list(text)) == (thinking, said)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "a", " ", "\n"]), max_size=8), st.data())
def test_any_beginning_is_read_the_same_at_any_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=5))
    assert read(ThinkTags(), pieces(text, *places)) == read(ThinkTags(), [text] if text else [])


@pytest.mark.parametrize(
    ("prefix", "text", "said"),
    [
        ("The sky", "The sky is", " is"),
        ("The sky", "The sky", ""),
        ("The sky", "The", "The"),
        ("The sky", "Then", "Then"),
        ("The sky", "A sky", "A sky"),
        ("The sky", "", ""),
        ("aa", "aaaa", "aa"),
        ("", "hello", "hello"),
        ("é\u2028", "é\u2028x", "x"),
    ],
)
def test_a_prefix_is_dropped_once_at_every_cut(prefix: str, text: str, said: str) -> None:
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            assert read(EchoedPrefix(prefix), pieces(text, first, second)) == ("", said)


@given(st.text(alphabet="ab", max_size=6), st.text(alphabet="ab", max_size=9), st.data())
def test_any_prefix_is_dropped_exactly_when_it_is_echoed(prefix: str, text: str, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=5))
    assert read(EchoedPrefix(prefix), pieces(text, *places)) == ("", text.removeprefix(prefix))


def test_without_a_prefix_nothing_is_held_back() -> None:
    assert EchoedPrefix("").done
