"""Lists in pieces: `skip` and `limit` in, the piece and how many there are in all out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Other = TypeVar("Other")

MAX_LIMIT = 100
MAX_SKIP = 1_000_000


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which piece of a list is wanted."""

    skip: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One piece of a list."""

    items: Sequence[Item]
    total: int
    skip: int
    limit: int

    def of(self, convert: Callable[[Item], Other]) -> "Page[Other]":
        """Return the same piece with every item converted."""
        return Page([convert(item) for item in self.items], self.total, self.skip, self.limit)
