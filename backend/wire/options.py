"""How sampling options are written for one upstream: a table per dialect, no branches.

Policy: a tuning hint the upstream does not know is dropped, a value out of its range is clamped; what would change the
meaning of the answer is refused elsewhere (`backend.features.generation`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.llm.types import Sampling


@dataclass(frozen=True, slots=True)
class OptionRule:
    """Where one option goes and what values may arrive there."""

    target: str
    minimum: float | None = None
    maximum: float | None = None
    omit: Callable[[Any], bool] | None = None
    """True for values that mean "not set" to this upstream."""
    limit: int | None = None
    """Items of a list the upstream takes; the rest is dropped."""

    def write(self, value: Any) -> Any:
        """Return the value to send, or None to send nothing."""
        if self.omit is not None and self.omit(value):
            return None
        if isinstance(value, tuple):
            items = [item for item in value if item]
            return items[: self.limit] or None
        if self.minimum is not None:
            value = max(value, self.minimum)
        return value if self.maximum is None else min(value, self.maximum)


OptionTable = Mapping[str, OptionRule]
"""Canonical name (a field of `Sampling`, or a key of its `extras`) -> rule; what is not in the table is dropped."""


def negative(value: float) -> bool:
    """Whether an option says "any" by being below zero."""
    return value < 0


def is_one(value: float) -> bool:
    """Whether a penalty factor changes nothing."""
    return value == 1


def write_options(sampling: Sampling, table: OptionTable) -> dict[str, Any]:
    """Return the body fields for the options the caller set and the table knows."""
    body: dict[str, Any] = {}
    for name, rule in table.items():
        value = getattr(sampling, name, None) if name in Sampling.__slots__ else sampling.extras.get(name)
        if value is None or value == ():
            continue
        written = rule.write(value)
        if written is not None:
            body[rule.target] = written
    return body
