"""The golden transcripts, and how a stream reads them: in any pieces, up to the end or the failure."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from backend.core.clock import Timestamps
from backend.llm.errors import ProviderError
from backend.llm.events import ChatEvent, Finished, TextDelta, ThinkingDelta, Timings, Usage
from backend.llm.types import ToolCall
from backend.wire.decoder import Decoder

GOLDEN = Path(__file__).parents[2] / "golden"
MAX_LINE = 65_536
NOW = "2026-11-20T10:00:00.123456Z"


class StoppedClock(Timestamps):
    """A clock that always tells the same moment."""

    def now(self) -> str:
        return NOW


@dataclass(frozen=True)
class Heard:
    """What a stream gave: its events, and the message it failed with, if it did."""

    events: list[ChatEvent]
    error: str | None = None


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return `data` cut at these places; nothing is lost and no piece is empty."""
    edges = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


def listen(decoder: Decoder, pieces: Sequence[bytes]) -> Heard:
    """Read an answer the way a provider's stream does."""
    events: list[ChatEvent] = []
    waiting = [*pieces, b""]
    try:
        while not decoder.finished and waiting:
            piece = waiting.pop(0)
            events += decoder.feed(piece) if piece else decoder.close()
            if decoder.failure is not None:
                return Heard(events, decoder.failure.message)
    except ProviderError as error:
        return Heard(events, error.message)
    return Heard(events)


def listen_to_all(make: Callable[[], Decoder], data: bytes, cuts: Iterable[int] = ()) -> Heard:
    """Read a whole answer with a new decoder, cut at these places."""
    return listen(make(), cut(data, cuts))


def read_events(entries: Sequence[dict[str, Any]]) -> tuple[list[ChatEvent], str | None]:
    """Return the events of a golden list and what its error contains, None when it ends well."""
    if entries and entries[-1]["type"] == "error":
        return [_event(entry) for entry in entries[:-1]], entries[-1]["contains"]
    return [_event(entry) for entry in entries], None


def _event(entry: dict[str, Any]) -> ChatEvent:
    match entry["type"]:
        case "text":
            return TextDelta(entry["text"], entry.get("logprobs"))
        case "thinking":
            return ThinkingDelta(entry["text"])
        case "tool_call":
            return ToolCall(entry["id"], entry["name"], entry["arguments"])
        case _:
            return Finished(
                entry["reason"],
                Usage(entry["prompt_tokens"], entry["completion_tokens"]),
                _timings(entry["timings_ns"]),
            )


def _timings(entry: dict[str, int | None] | None) -> Timings:
    if entry is None:
        return Timings()
    return Timings(load_ns=entry["load"], prompt_ns=entry["prompt"], completion_ns=entry["eval"])


def load_json(path: Path) -> Any:
    """Return a golden JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
