"""Vectors, and a place that keeps them."""

from collections.abc import AsyncIterator, Hashable, Sequence

import numpy as np

from backend.adapters.vectors.exact import ExactVectors


def unit_vectors(count: int, dimensions: int = 24, seed: int = 0) -> list[bytes]:
    """Return vectors of length one, always the same ones."""
    drawn = np.random.default_rng(seed).normal(size=(count, dimensions))
    return [(row / np.linalg.norm(row)).astype("<f4").tobytes() for row in drawn]


class KeptVectors:
    """Implements `VectorSource`."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[int, bytes]] = {}
        self.changes = 0
        self.reads = 0

    async def stamp(self, index: str) -> tuple[int, Hashable]:
        return len(self.kept.get(index, {})), self.changes

    async def rows(self, index: str) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        self.reads += 1
        yield list(self.kept.get(index, {}).items())

    async def names(self) -> Sequence[str]:
        return list(self.kept)


class RecordedExact(ExactVectors):
    """Exact search over vectors that are kept as they are added."""

    def __init__(self, source: KeptVectors) -> None:
        super().__init__(source)
        self._record = source

    async def add(self, index: str, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        self._record.kept.setdefault(index, {}).update(zip(numbers, vectors, strict=True))
        self._record.changes += 1
        await super().add(index, numbers, vectors)

    async def remove(self, index: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._record.kept.get(index, {}).pop(number, None)
        self._record.changes += 1
        await super().remove(index, numbers)

    async def drop(self, index: str) -> None:
        self._record.kept.pop(index, None)
        self._record.changes += 1
        await super().drop(index)
