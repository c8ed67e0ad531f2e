"""What an answer is made of: `Started (TextDelta | ThinkingDelta | ToolCall)* Finished`.

A provider yields lists of events, one list per network read; `Finished` comes exactly once and last. Failure is an
exception (`backend.llm.errors`), never an event: before the first event it becomes an HTTP status, later an error in
the client's wire format. Durations are integers in nanoseconds, with the suffix `_ns`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from backend.llm.grounding import Grounding
from backend.llm.types import ToolCall

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Started:
    """The upstream began to answer; nothing to show yet."""

    response_id: str = ""


@dataclass(slots=True)
class TextDelta:
    """The next piece of the answer; never empty. Not frozen: it is built once per token and that is measured."""

    text: str
    logprobs: Sequence[Mapping[str, Any]] | None = None
    """Per token: `token`, `logprob`, `bytes`?, `top_logprobs`?."""


@dataclass(slots=True)
class ThinkingDelta:
    """The next piece of the model's reasoning; never empty."""

    text: str


_COUNT_LIMIT = 100_000_000
_DAY_NS = 86_400_000_000_000


def token_count(value: object) -> int | None:
    """Return what an upstream reports as a number of tokens, or None for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= _COUNT_LIMIT else None


def duration_ns(value: object, unit: float = 1.0) -> int | None:
    """Return what an upstream reports as a duration, in nanoseconds; None for what cannot be one (over a day)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _DAY_NS / unit:
        return None
    return int(value * unit)


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the upstream reported them; None where it did not (or reported nonsense)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went. A provider gives what its upstream measured; the gateway's clock fills the rest."""

    load_ns: int | None = None
    prompt_ns: int | None = None
    completion_ns: int | None = None
    total_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete."""

    reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()
    grounding: Grounding | None = None
    """What the answer stands on; set by the pipeline where knowledge was put before the question."""


ChatEvent = Started | TextDelta | ThinkingDelta | ToolCall | Finished
