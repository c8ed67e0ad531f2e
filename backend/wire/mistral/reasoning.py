"""How `think` is written per model family of Mistral's platform (`upstreams.md` A.7 and D.2)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.llm.types import Thinking


@dataclass(frozen=True, slots=True)
class ReasoningFamily:
    """A family of models that are steered alike: per level, the body fields to send."""

    pattern: re.Pattern[str]
    levels: Mapping[Thinking, Mapping[str, Any]]


def _effort(on: str, off: str | None, **named: str) -> dict[Thinking, Mapping[str, Any]]:
    levels: dict[Thinking, Mapping[str, Any]] = {
        level: {"reasoning_effort": named.get(str(level), on)} for level in ("low", "medium", "high", "max")
    }
    levels[True] = {"reasoning_effort": on}
    levels[False] = {} if off is None else {"reasoning_effort": off}
    return levels


_PROMPT_MODE: Mapping[str, Any] = {"prompt_mode": "reasoning"}

REASONING_FAMILIES: tuple[ReasoningFamily, ...] = (
    ReasoningFamily(
        re.compile(r"magistral-\w+-25\d\d"),
        {True: _PROMPT_MODE, False: {}, **dict.fromkeys(("low", "medium", "high", "max"), _PROMPT_MODE)},
    ),
    ReasoningFamily(re.compile(r"glm-5-2"), _effort("high", "none", low="low", max="max")),
    ReasoningFamily(re.compile(r"glm"), _effort("high", "low", low="low", max="max")),
    ReasoningFamily(re.compile(r"mistral-(small|medium)|mistral-large-4|magistral"), _effort("high", "none")),
)
"""First match wins. `low` on a two-level model means "high": "none" would deny what was asked."""

_DEFAULT_ON: Mapping[str, Any] = {"reasoning_effort": "high"}


def write_thinking(level: Thinking | None, model: str) -> Mapping[str, Any]:
    """Return the body fields that ask `model` for this much reasoning; nothing when the caller said nothing.

    A model of no known family that is listed as reasoning gets `high`; "off" is not sent, since a model that does not
    reason refuses the field.
    """
    if level is None:
        return {}
    for family in REASONING_FAMILIES:
        if family.pattern.search(model.lower()):
            return family.levels[level]
    return _DEFAULT_ON if level is not False else {}
