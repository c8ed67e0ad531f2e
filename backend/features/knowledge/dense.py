"""Search by vectors: one index per collection, agent and chat, all at once."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from backend.features.knowledge.index_names import IndexName
from backend.features.knowledge.ports import Fingerprint, TextEmbedder, VectorIndex
from backend.features.knowledge.scopes import Scope

_AT_ONCE = 8


class Nearest(Protocol):
    """Finds passages by meaning."""

    async def vector(self, text: str) -> tuple[Fingerprint, bytes] | None:
        """Return a question's vector and who made it, or None where there is no embedder now.

        Raises `GatewayError` when the embedder is away.
        """
        ...

    async def nearest(self, scope: Scope, made_by: Fingerprint, vector: bytes, limit: int) -> dict[int, float]:
        """Return the passages of a scope that are nearest, with their cosine; raise `GatewayError` when it fails.

        May return passages that are not in the scope any more: whoever asks checks each of them.
        """
        ...


class DenseSearch:
    """Implements `Nearest` on an embedder and an index.

    Args:
        find_embedder: returns the embedder whose vectors are searched now, or None.
        index: holds them.
    """

    def __init__(self, find_embedder: Callable[[], TextEmbedder | None], index: VectorIndex) -> None:
        self._find_embedder = find_embedder
        self._index = index
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def vector(self, text: str) -> tuple[Fingerprint, bytes] | None:
        """See `Nearest.vector`."""
        embedder = self._find_embedder()
        if embedder is None:
            return None
        made_by = await embedder.fingerprint()
        [vector] = await embedder.embed([text], "query")
        return made_by, vector

    async def nearest(self, scope: Scope, made_by: Fingerprint, vector: bytes, limit: int) -> dict[int, float]:
        """See `Nearest.nearest`."""

        async def search(name: str) -> Sequence[tuple[int, float]]:
            async with self._slots:
                return await self._index.search(name, vector, limit)

        found = await asyncio.gather(*(search(name) for name in _names(scope, made_by)))
        return dict(sorted((hit for hits in found for hit in hits), key=lambda hit: -hit[1])[:limit])


def _names(scope: Scope, made_by: Fingerprint) -> Iterator[str]:
    for collection_id in sorted(scope.collections):
        yield str(IndexName("kb", collection_id, made_by.value))
    if scope.own_agent is not None:
        yield str(IndexName("agent", scope.own_agent, made_by.value))
    if scope.own_chat is not None:
        yield str(IndexName("chat", scope.own_chat, made_by.value))
