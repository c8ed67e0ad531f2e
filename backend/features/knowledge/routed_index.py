"""One index for all: collections in the one that is kept, agents' and chats' few passages compared one by one.

While the index of a collection is rebuilt or fails, its passages are compared one by one too: slower, and right.
"""

from collections.abc import Callable, Sequence

from backend.core.errors import StoreUnavailable
from backend.features.knowledge.ports import VectorIndex


class RoutedIndex:
    """Implements `VectorIndex` over two: `kept` for collections, `exact` for the rest and in need.

    Args:
        kept: has an index for every collection; the same as `exact` where none is kept.
        exact: compares every vector of the database.
    """

    def __init__(self, kept: VectorIndex, exact: VectorIndex) -> None:
        self._kept = kept
        self._exact = exact
        self.is_rebuilding: Callable[[str], bool] = lambda _name: False
        """Whether an index is incomplete just now; set by who rebuilds."""
        self.suspect: Callable[[str], None] = lambda _name: None
        """Told of an index that failed."""

    async def add(self, index: str, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        """See `VectorIndex.add`."""
        await self._exact.add(index, numbers, vectors)
        if _is_kept(index):
            await self._kept.add(index, numbers, vectors)

    async def remove(self, index: str, numbers: Sequence[int]) -> None:
        """See `VectorIndex.remove`."""
        await self._exact.remove(index, numbers)
        if _is_kept(index):
            await self._kept.remove(index, numbers)

    async def search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:
        """See `VectorIndex.search`; raise `StoreUnavailable` when a large collection is being rebuilt."""
        if _is_kept(index) and not self.is_rebuilding(index):
            try:
                return await self._kept.search(index, vector, limit)
            except StoreUnavailable:
                self.suspect(index)
        return await self._exact.search(index, vector, limit)

    async def count(self, index: str) -> int:
        """See `VectorIndex.count`."""
        return await self._of(index).count(index)

    async def sample(self, index: str, numbers: Sequence[int]) -> Sequence[int]:
        """See `VectorIndex.sample`."""
        return await self._of(index).sample(index, numbers)

    async def drop(self, index: str) -> None:
        """See `VectorIndex.drop`."""
        await self._exact.drop(index)
        if _is_kept(index):
            await self._kept.drop(index)

    async def names(self) -> Sequence[str]:
        """See `VectorIndex.names`."""
        return await self._kept.names()

    def _of(self, index: str) -> VectorIndex:
        return self._kept if _is_kept(index) else self._exact


def _is_kept(index: str) -> bool:
    return index.startswith("kb_")
