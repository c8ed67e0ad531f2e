"""Keeps indices whole: compared with the database, sampled, and rebuilt from it when anything is missing."""

import asyncio

from backend.core.errors import StoreUnavailable
from backend.core.logging import get_logger
from backend.features.knowledge.index_names import parse_index_name
from backend.features.knowledge.ports import VectorIndex
from backend.features.knowledge.vector_rows import VectorRows

_log = get_logger(__name__)

START_SAMPLE, NIGHT_SAMPLE = 3, 100


class IndexKeeper:
    """Checks and rebuilds the indices of collections.

    A count alone detects no loss (`rag.md` 1.2): some passages are looked for by their own vectors too.
    """

    def __init__(self, rows: VectorRows, index: VectorIndex) -> None:
        self._rows = rows
        self._index = index
        self._rebuilding: set[str] = set()
        self._turn = asyncio.Lock()

    def is_rebuilding(self, name: str) -> bool:
        """Whether an index is incomplete just now."""
        return name in self._rebuilding

    async def check_all(self, fingerprint: str, sample: int = START_SAMPLE) -> int:
        """Check every index of an embedder, and rebuild those that are not whole; return how many were rebuilt."""
        rebuilt = 0
        for name in await self._rows.scopes(fingerprint):
            rebuilt += await self.check(name, sample)
        return rebuilt

    async def check(self, name: str, sample: int = START_SAMPLE) -> bool:
        """Rebuild an index unless it is whole; return whether it was rebuilt. One at a time."""
        async with self._turn:
            reason = await self._find_damage(name, sample)
            if reason:
                _log.warning("vector_index_rebuilt", index=name, reason=reason)
                await self._rebuild(name)
            return bool(reason)

    async def rebuild_all(self, fingerprint: str) -> int:
        """Build every index of an embedder anew; return how many."""
        names = await self._rows.scopes(fingerprint)
        for name in names:
            await self.rebuild(name)
        return len(names)

    async def rebuild(self, name: str) -> None:
        """Build an index anew; one at a time."""
        async with self._turn:
            await self._rebuild(name)

    async def drop_others(self, kept: set[str]) -> None:
        """Drop the indices of all embedders but these, and of collections that are gone."""
        wanted = {name for fingerprint in kept for name in await self._rows.scopes(fingerprint)}
        for name in await self._index.names():
            parsed = parse_index_name(name)
            if parsed is not None and parsed.kind == "kb" and name not in wanted:
                live, every = await self._rows.counts(name)
                is_ours = any(fingerprint.startswith(parsed.fingerprint) for fingerprint in kept)
                if not is_ours or not (live or every):
                    await self._index.drop(name)

    async def _find_damage(self, name: str, sample: int) -> str:
        """Return what is wrong with an index, or "" when it is whole."""
        live, every = await self._rows.counts(name)
        try:
            has = await self._index.count(name)
            if not live <= has <= every:
                return f"it has {has} vectors, the database {live} live ones of {every}"
            numbers = await self._rows.random_numbers(name, sample)
            found = await self._index.sample(name, numbers)
        except StoreUnavailable as error:
            return error.message
        lost = set(numbers) - set(found)
        return f"{len(lost)} of {len(numbers)} vectors cannot be found" if lost else ""

    async def _rebuild(self, name: str) -> None:
        self._rebuilding.add(name)
        try:
            await self._index.drop(name)
            async for page in self._rows.rows(name, is_live=False):
                await self._index.add(name, [number for number, _ in page], [vector for _, vector in page])
        finally:
            self._rebuilding.discard(name)
