"""Every golden answer becomes the same events, however the network cuts it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.events import ChatEvent, Finished
from backend.llm.lead_in import EchoedPrefix, ThinkTags
from backend.wire.decoder import Decoder
from backend.wire.ollama.upstream import LineDecoder
from backend.wire.openai.chunks import ChunkDecoder
from tests.unit.wire.transcripts import GOLDEN, MAX_LINE, Heard, listen_to_all, load_json, read_events

MAKERS: dict[str, Callable[[], Decoder]] = {
    "mistral": lambda: ChunkDecoder("up", MAX_LINE),
    "openai": lambda: ChunkDecoder("up", MAX_LINE, ThinkTags()),
    "ollama": lambda: LineDecoder("up", MAX_LINE),
}
ANSWERS = sorted(path for wire in MAKERS for path in (GOLDEN / wire).iterdir() if path.suffix in {".sse", ".ndjson"})
every_answer = pytest.mark.parametrize("path", ANSWERS, ids=lambda path: f"{path.parent.name}-{path.stem}")


def told(events: list[ChatEvent]) -> list[ChatEvent]:
    """Return the events as the golden files list them: the total duration is not listed."""
    return [replace(e, timings=replace(e.timings, total_ns=None)) if isinstance(e, Finished) else e for e in events]


def check(heard: Heard, path: Path) -> None:
    expected, contains = read_events(load_json(path.with_suffix(".events.json")))
    assert told(heard.events) == expected
    if contains is None:
        assert heard.error is None
    else:
        assert heard.error is not None
        assert contains in heard.error


def test_every_wire_has_golden_answers() -> None:
    assert {path.parent.name for path in ANSWERS} == set(MAKERS)
    assert all(path.with_suffix(".events.json").is_file() for path in ANSWERS)


@every_answer
def test_an_answer_in_one_read_becomes_its_events(path: Path) -> None:
    check(listen_to_all(MAKERS[path.parent.name], path.read_bytes()), path)


@every_answer
def test_an_answer_byte_by_byte_becomes_the_same_events(path: Path) -> None:
    data = path.read_bytes()
    check(listen_to_all(MAKERS[path.parent.name], data, range(len(data))), path)


@every_answer
def test_an_answer_cut_anywhere_becomes_the_same_events(path: Path) -> None:
    data = path.read_bytes()

    @given(st.lists(st.integers(1, len(data)), max_size=12))
    def run(cuts: list[int]) -> None:
        check(listen_to_all(MAKERS[path.parent.name], data, cuts), path)

    run()


@pytest.mark.parametrize("step", [1, 7, 100, 10_000])
def test_an_echoed_prefix_is_taken_out_of_the_golden_answer(step: int) -> None:
    case = load_json(GOLDEN / "mistral" / "prefix-echo.stripped.json")
    data = (GOLDEN / "mistral" / "prefix-echo.sse").read_bytes()
    heard = listen_to_all(
        lambda: ChunkDecoder("up", MAX_LINE, EchoedPrefix(case["prefix"])), data, range(0, len(data), step)
    )
    assert heard.error is None
    assert heard.events == read_events(case["events"])[0]


@pytest.mark.parametrize("name", ["thinking.sse", "tool-calls-glm.sse", "thinking-closing-variant.sse"])
def test_a_caller_who_wants_no_thinking_gets_none(name: str) -> None:
    path = GOLDEN / "mistral" / name
    expected, _ = read_events(load_json(path.with_suffix(".events.json")))
    heard = listen_to_all(lambda: ChunkDecoder("up", MAX_LINE, show_thinking=False), path.read_bytes())
    assert heard.events == [event for event in expected if type(event).__name__ != "ThinkingDelta"]


def test_a_caller_who_wants_no_thinking_gets_none_from_think_tags() -> None:
    path = GOLDEN / "openai" / "vllm-think-tags-split.sse"
    expected, _ = read_events(load_json(path.with_suffix(".events.json")))
    heard = listen_to_all(lambda: ChunkDecoder("up", MAX_LINE, ThinkTags(), show_thinking=False), path.read_bytes())
    assert heard.events == [event for event in expected if type(event).__name__ != "ThinkingDelta"]
