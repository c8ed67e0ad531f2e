"""What is done for memories in the background: vectors are made, what is said twice or too old is forgotten."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from backend.core.db.database import Database
from backend.core.db.tables import utc_now
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.memory.nearness import Numbered, replaced
from backend.features.memory.recall import EmbedderInUse, FindEmbedder, no_embedder
from backend.features.memory.repository import MemoryRepository, Unembedded, keep_vectors, prune
from backend.features.memory.word_index import Whose
from backend.llm.errors import ProviderRejected

_log = get_logger(__name__)

_EVERY_SECONDS = 60.0
_PRUNE_SECONDS = 3_600.0
_BATCH = 32
_MOST_REFUSED = 500
_CLOSING_SECONDS = 2.0


class MemoryUpkeep:
    """Looks once a minute and after something was learned for vectors to make, once an hour for what is too old.

    Args:
        database: holds the memories.
        retention: after which they are forgotten.
        now: the time, with its zone.
    """

    def __init__(self, database: Database, retention: timedelta, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._retention = retention
        self._now = now
        self._memories = MemoryRepository()
        self._find_embedder: FindEmbedder = no_embedder
        self._may_work: Callable[[], bool] = lambda: True
        self._refused: dict[str, set[int]] = defaultdict(set)
        """Memories that an embedder takes never, by its fingerprint: nobody else's must wait for them."""
        self._is_due = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    def use_vectors(self, find_embedder: FindEmbedder, may_work: Callable[[], bool] = lambda: True) -> None:
        """Make vectors, from now on; `may_work` says whether this process is the one that does, asked each time."""
        self._find_embedder, self._may_work = find_embedder, may_work

    def look(self) -> None:
        """Do a round soon."""
        self._is_due.set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="upkeep of memories")

    async def aclose(self) -> None:
        """Stop; what was begun is begun again at the next start."""
        self._is_closing = True
        self._is_due.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_CLOSING_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def once(self) -> None:
        """Do all there is to do."""
        await self.prune()
        await self.embed()

    async def prune(self) -> None:
        """Forget what is too old."""
        before = self._now() - self._retention
        is_more = True
        while is_more:
            is_more = bool(await self._database.in_one(partial(prune, before=before)))

    async def embed(self) -> None:
        """Make the vectors that are missing, where there is an embedder."""
        used = self._find_embedder()
        is_more = used is not None and self._may_work()
        while used is not None and is_more and not self._is_closing:
            is_more = await self._embed(used)

    async def _embed(self, used: EmbedderInUse) -> bool:
        """Make vectors for some memories; return whether there may be more."""
        fingerprint = used.fingerprint.value
        async with self._database.reading() as session:
            missing = await self._memories.without_vector(session, fingerprint, _BATCH, self._refused[fingerprint])
        if not missing:
            return False
        of_whom: dict[Whose, list[Numbered]] = {}
        for one, data in await self._made(used, missing):
            of_whom.setdefault(one.whose, []).append((one.number, data))
        for whose, added in of_whom.items():
            await self._keep(whose, fingerprint, sorted(added))
        return _is_full(missing)

    async def _made(self, used: EmbedderInUse, missing: Sequence[Unembedded]) -> Sequence[tuple[Unembedded, bytes]]:
        """Return vectors; where the embedder refuses one memory, those of the others."""
        try:
            made = await used.embedder.embed([one.text for one in missing], "document")
        except ProviderRejected as error:
            return await self._made_singly(used, missing, error)
        return list(zip(missing, made, strict=True))

    async def _made_singly(
        self, used: EmbedderInUse, missing: Sequence[Unembedded], error: ProviderRejected
    ) -> Sequence[tuple[Unembedded, bytes]]:
        refused = self._refused[used.fingerprint.value]
        done: list[tuple[Unembedded, bytes]] = []
        for one in missing:
            if len(refused) >= _MOST_REFUSED:
                raise error
            try:
                [data] = await used.embedder.embed([one.text], "document")
            except ProviderRejected as found:
                _log.warning("memory_refused", reason=type(found).__name__)
                refused.add(one.number)
            else:
                done.append((one, data))
        return done

    async def _keep(self, whose: Whose, fingerprint: str, added: Sequence[Numbered]) -> None:
        async with self._database.reading() as session:
            known = await self._memories.vectors(session, whose, fingerprint)
        gone = await asyncio.to_thread(replaced, known, added)
        made = [row for row in added if row[0] not in gone]
        await self._database.in_one(partial(keep_vectors, fingerprint=fingerprint, made=made, gone=gone))

    async def _run(self) -> None:
        loop, pruned_at = asyncio.get_running_loop(), float("-inf")
        while not self._is_closing:
            self._is_due.clear()
            try:
                if loop.time() - pruned_at > _PRUNE_SECONDS:
                    pruned_at = loop.time()
                    await self.prune()
                await self.embed()
            except GatewayError as error:
                _log.warning("memories_wait", reason=error.message)
            except Exception:  # noqa: BLE001 (the next round may go well)
                _log.exception("memories_not_looked_after_unexpectedly")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS):
                    await self._is_due.wait()


def _is_full(missing: Sequence[Unembedded]) -> bool:
    return len(missing) == _BATCH
