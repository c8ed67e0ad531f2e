"""Compares a question with every vector: no index to build or lose, as fast as one for small sets."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from backend.core.errors import StoreUnavailable

if TYPE_CHECKING:
    import numpy as np

MAX_ROWS = 20_000
"""Vectors of one index that are compared; more would cost memory and time that an index saves."""
_CACHE_BYTES = 256 * 2**20
_TOO_MANY = "this collection has too many passages to compare each: let the gateway keep an index of vectors"


class VectorSource(Protocol):
    """Where the vectors of an index are kept."""

    async def stamp(self, index: str) -> tuple[int, Hashable]:
        """Return how many vectors an index has, and something that is another when they are others."""
        ...

    def rows(self, index: str) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Yield its numbers and vectors, in pieces."""
        ...

    async def names(self) -> Sequence[str]:
        """Return all indices there are."""
        ...


@dataclass(frozen=True, slots=True)
class _Rows:
    stamp: Hashable
    numbers: "np.ndarray[Any, Any]"
    vectors: "np.ndarray[Any, Any]"


class ExactVectors:
    """Searches the source itself; what was read is kept while it is used and unchanged.

    Nothing is written: what is added or removed is so in the source already, and is read again.
    """

    def __init__(self, source: VectorSource, max_rows: int = MAX_ROWS, cache_bytes: int = _CACHE_BYTES) -> None:
        self._source = source
        self._max_rows = max_rows
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, _Rows] = OrderedDict()
        self._reading: dict[str, asyncio.Lock] = {}

    async def add(self, index: str, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:  # noqa: ARG002
        """See `VectorIndex.add`."""
        self._cache.pop(index, None)

    async def remove(self, index: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        """See `VectorIndex.remove`."""
        self._cache.pop(index, None)

    async def search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:
        """See `VectorIndex.search`; raise `StoreUnavailable` for an index with too many vectors."""
        rows = await self._rows(index)
        return () if rows is None else await asyncio.to_thread(_nearest, rows, vector, limit)

    async def count(self, index: str) -> int:
        """See `VectorIndex.count`."""
        return (await self._source.stamp(index))[0]

    async def sample(self, index: str, numbers: Sequence[int]) -> Sequence[int]:
        """See `VectorIndex.sample`."""
        rows = await self._rows(index)
        known = set() if rows is None else set(rows.numbers.tolist())
        return [number for number in numbers if number in known]

    async def drop(self, index: str) -> None:
        """See `VectorIndex.drop`."""
        self._cache.pop(index, None)

    async def names(self) -> Sequence[str]:
        """See `VectorIndex.names`."""
        return await self._source.names()

    async def aclose(self) -> None:
        """Forget what was read."""
        self._cache.clear()

    async def _rows(self, index: str) -> _Rows | None:
        lock = self._reading.setdefault(index, asyncio.Lock())
        try:
            async with lock:
                return await self._read(index)
        finally:
            if not lock.locked():
                self._reading.pop(index, None)

    async def _read(self, index: str) -> _Rows | None:
        count, stamp = await self._source.stamp(index)
        if not count:
            self._cache.pop(index, None)
            return None
        if count > self._max_rows:
            raise StoreUnavailable(_TOO_MANY)
        known = self._cache.get(index)
        if known is None or known.stamp != stamp:
            read = [row async for piece in self._source.rows(index) for row in piece]
            if not read:
                return None
            known = await asyncio.to_thread(_matrix, read, stamp)
            self._cache[index] = known
            self._make_room(index)
        if index in self._cache:
            self._cache.move_to_end(index)
        return known

    def _make_room(self, newest: str) -> None:
        while sum(rows.vectors.nbytes for rows in self._cache.values()) > self._cache_bytes:
            oldest = next(iter(self._cache))
            del self._cache[oldest]
            if oldest == newest:
                return


def _matrix(read: Sequence[tuple[int, bytes]], stamp: Hashable) -> _Rows:
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    vectors = np.frombuffer(b"".join(data for _, data in read), dtype="<f4").reshape(len(read), -1)
    return _Rows(stamp, np.array([number for number, _ in read], dtype="i8"), vectors)


def _nearest(rows: _Rows, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    asked = np.frombuffer(vector, dtype="<f4")
    if asked.size != rows.vectors.shape[1]:
        raise StoreUnavailable("the question's vector has another length than those that are kept; reindex")
    scores = rows.vectors @ asked
    best = np.argpartition(-scores, limit - 1)[:limit] if limit < scores.size else np.arange(scores.size)
    order = best[np.lexsort((rows.numbers[best], -scores[best]))]
    return list(zip(rows.numbers[order].tolist(), scores[order].tolist(), strict=True))
