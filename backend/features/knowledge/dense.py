"""Search by vectors: one index per collection, agent and chat, all at once."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.knowledge.index_names import IndexName
from backend.features.knowledge.ports import Fingerprint, TextEmbedder, VectorIndex
from backend.features.knowledge.scopes import Scope

_log = get_logger(__name__)

_AT_ONCE = 8
_LATE = "it did not answer in time"


@dataclass(frozen=True, slots=True)
class Near:
    """What is nearest, of as much as answered."""

    cosines: Mapping[int, float]
    unanswered: Scope
    """The part whose indices failed or were late: of its passages nothing is known here."""


class Nearest(Protocol):
    """Finds passages by meaning."""

    async def vector(self, text: str) -> tuple[Fingerprint, bytes] | None:
        """Return a question's vector and who made it, or None where there is no embedder now.

        Raises `GatewayError` when the embedder is away.
        """
        ...

    async def nearest(self, scope: Scope, made_by: Fingerprint, vector: bytes, limit: int, seconds: float) -> Near:
        """Return the passages of a scope that are nearest, with their cosine, after so many seconds at most.

        What fails or is late is left out. Raises `GatewayError` or `TimeoutError` when nothing is left.
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

    async def nearest(self, scope: Scope, made_by: Fingerprint, vector: bytes, limit: int, seconds: float) -> Near:
        """See `Nearest.nearest`."""
        latest = asyncio.get_running_loop().time() + seconds

        async def search(name: IndexName) -> Sequence[tuple[int, float]] | GatewayError | TimeoutError:
            try:
                async with asyncio.timeout_at(latest), self._slots:
                    return await self._index.search(str(name), vector, limit)
            except (GatewayError, TimeoutError) as error:
                return error

        names = list(_names(scope, made_by))
        hits: list[tuple[int, float]] = []
        failed: dict[IndexName, GatewayError | TimeoutError] = {}
        for name, found in zip(names, await asyncio.gather(*map(search, names)), strict=True):
            if isinstance(found, (GatewayError, TimeoutError)):
                failed[name] = found
            else:
                hits += found
        if failed:
            first, error = next(iter(failed.items()))
            if not hits:
                raise error
            reason = error.message if isinstance(error, GatewayError) else _LATE
            _log.warning("vector_indices_left_out", failed=len(failed), of=len(names), first=str(first), reason=reason)
        return Near(dict(sorted(hits, key=lambda hit: -hit[1])[:limit]), _scope_of(failed))


def _names(scope: Scope, made_by: Fingerprint) -> Iterator[IndexName]:
    for collection_id in sorted(scope.collections):
        yield IndexName("kb", collection_id, made_by.value)
    if scope.own_agent is not None:
        yield IndexName("agent", scope.own_agent, made_by.value)
    if scope.own_chat is not None:
        yield IndexName("chat", scope.own_chat, made_by.value)


def _scope_of(names: Collection[IndexName]) -> Scope:
    """Return what these indices are of."""
    one = {name.kind: name.scope for name in names}
    collections = frozenset(name.scope for name in names if name.kind == "kb")
    return Scope(collections, agent_id=one.get("agent"), chat_id=one.get("chat"))
