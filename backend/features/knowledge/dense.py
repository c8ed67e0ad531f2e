"""Search by vectors.

There is one index per collection and embedder. What is attached to an agent or a chat is little, and compared one by
one with what the store holds.
"""

import asyncio
import uuid
from array import array
from collections.abc import Sequence
from operator import mul
from typing import Protocol

from sqlalchemy import select

from backend.core.db.database import Database
from backend.features.knowledge.models import Chunk, Vector
from backend.features.knowledge.ports import Fingerprint, TextEmbedder, VectorIndex
from backend.features.knowledge.scopes import Scope, searched

_AT_ONCE = 8
_MOST_COMPARED = 5_000


class Nearest(Protocol):
    """Finds passages by meaning."""

    async def vector(self, text: str) -> tuple[Fingerprint, bytes]:
        """Return a question's vector and who made it; raise `GatewayError` when the embedder is away."""
        ...

    async def nearest(self, scope: Scope, made_by: Fingerprint, vector: bytes, limit: int) -> dict[int, float]:
        """Return the passages of a scope that are nearest, with their cosine; raise `GatewayError` when it fails.

        May return passages that are not in the scope any more: whoever asks checks each of them.
        """
        ...


def index_name(collection_id: uuid.UUID, made_by: Fingerprint) -> str:
    """Return the name of a collection's index."""
    return f"kb_{collection_id.hex}_{made_by.value[:8]}"


class DenseSearch:
    """Implements `Nearest` on an embedder and an index."""

    def __init__(self, database: Database, embedder: TextEmbedder, index: VectorIndex) -> None:
        self._database = database
        self._embedder = embedder
        self._index = index
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def vector(self, text: str) -> tuple[Fingerprint, bytes]:
        """See `Nearest.vector`."""
        made_by = await self._embedder.fingerprint()
        [vector] = await self._embedder.embed([text], "query")
        return made_by, vector

    async def nearest(self, scope: Scope, made_by: Fingerprint, vector: bytes, limit: int) -> dict[int, float]:
        """See `Nearest.nearest`."""

        async def search(collection_id: uuid.UUID) -> Sequence[tuple[int, float]]:
            async with self._slots:
                return await self._index.search(index_name(collection_id, made_by), vector, limit)

        searches = [search(collection_id) for collection_id in sorted(scope.collections)]
        *found, attached = await asyncio.gather(*searches, self._attached(scope, made_by, vector))
        hits = sorted((hit for hits in (*found, attached) for hit in hits), key=lambda hit: -hit[1])
        return dict(hits[:limit])

    async def _attached(self, scope: Scope, made_by: Fingerprint, vector: bytes) -> Sequence[tuple[int, float]]:
        own = Scope(agent_id=scope.agent_id, chat_id=scope.chat_id)
        if own.is_empty:
            return ()
        made = (Vector.text_hash == Chunk.text_hash) & (Vector.fingerprint == made_by.value)
        async with self._database.reading() as session:
            statement = select(Chunk.number, Vector.data).join(Vector, made).where(searched(own)).limit(_MOST_COMPARED)
            rows = [(number, data) for number, data in await session.execute(statement)]
        return await asyncio.to_thread(_compare, vector, rows)


def _compare(vector: bytes, rows: Sequence[tuple[int, bytes]]) -> list[tuple[int, float]]:
    """Return the cosines; vectors have the length one."""
    wanted = array("f", vector)
    return [(number, sum(map(mul, wanted, array("f", data)))) for number, data in rows if len(data) == len(vector)]
