"""What runs in the background for vectors: a change of the embedder, passages without one, damage to an index."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.knowledge.embedders import Embedders
from backend.features.knowledge.index_keeper import NIGHT_SAMPLE, START_SAMPLE, IndexKeeper
from backend.features.knowledge.indexing import EmbedderAway, VectorIndexer
from backend.features.knowledge.vector_rows import VectorRows

_log = get_logger(__name__)

_EVERY_SECONDS = 300.0
_AGAIN_SECONDS = 15.0
"""After a round that failed; twice as long after every further one."""
_PAUSE_SECONDS = 1.0
"""Between rounds at least: many documents may come at once."""
_NIGHT_SECONDS = 24 * 3600.0
_CLOSING_SECONDS = 2.0
_ROUND_SECONDS = 6 * 3600.0
"""The longest that one round may take; what is left is done in the next."""


class Upkeep:
    """Looks every few minutes, and at once when told to.

    Args:
        may_work: whether this process is the one that does it; asked before each round.
    """

    def __init__(
        self,
        rows: VectorRows,
        embedders: Embedders,
        indexer: VectorIndexer,
        keeper: IndexKeeper,
        may_work: Callable[[], bool] = lambda: True,
    ) -> None:
        self._rows = rows
        self._embedders = embedders
        self._indexer = indexer
        self._keeper = keeper
        self._may_work = may_work
        self._is_due = asyncio.Event()
        self._suspected: set[str] = set()
        self._is_distrusted = False
        self._closing = asyncio.Event()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._checked_at = float("-inf")
        """When all indices were looked at last."""

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="upkeep of vectors")

    def suspect(self, index: str) -> None:
        """Look at an index that failed, soon."""
        self._suspected.add(index)
        self._is_due.set()

    def rebuild(self) -> None:
        """Build every index anew, soon."""
        self._is_distrusted = True
        self._is_due.set()

    def look(self) -> None:
        """Do a round now: documents came, or a backend."""
        self._is_due.set()

    async def aclose(self) -> None:
        """Stop; what was begun is begun again at the next start.

        A query that runs is waited for: the database does not take it well when it is left in the middle of one.
        """
        self._closing.set()
        self._is_due.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_CLOSING_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def once(self) -> None:
        """Do a round: find the embedder, make missing vectors, mend indices, switch, clear away what is old."""
        is_ours = self._may_work()  # before anything that may take long: others look whether somebody does
        await self._embedders.refresh(is_needed=await self._rows.has_passages())
        wanted = self._embedders.wanted
        if not is_ours:
            return
        if wanted is not None:
            made = await self._indexer.backfill(wanted)
            await self._indexer.complete(wanted)
            is_new = self._embedders.is_changing
            if is_new or made:
                await self._keeper.check_all(wanted.fingerprint.value)
            if is_new:
                await self._embedders.switch()
                self._is_due.set()
                return  # what is old goes in a later round: somebody may be searching it
        await self._mend()

    async def _mend(self) -> None:
        searched = self._embedders.searched
        if searched is None:
            return
        if self._is_distrusted:
            await self._keeper.rebuild_all(searched.fingerprint.value)
            self._is_distrusted = False
        for name in sorted(self._suspected):
            await self._keeper.check(name)
            self._suspected.discard(name)
        age = time.monotonic() - self._checked_at
        if age < _NIGHT_SECONDS:
            return
        is_start = self._checked_at == float("-inf")
        while await self._keeper.check_all(searched.fingerprint.value, START_SAMPLE if is_start else NIGHT_SAMPLE):
            # Mending one may have taken the others with it: a damaged folder is left as a whole.
            await asyncio.sleep(0)
            if not is_start:
                break
            is_start = False
        kept = {used.fingerprint.value for used in self._embedders.writing}
        await self._keeper.drop_others(kept)
        await self._rows.drop_others(sorted(kept))
        self._checked_at = time.monotonic()

    async def _run(self) -> None:
        while not self._closing.is_set():
            self._is_due.clear()
            await self._round()
            await _within(_PAUSE_SECONDS, self._closing)
            await _within(self._wait(), self._is_due)

    def _wait(self) -> float:
        if not self._failures:
            return _EVERY_SECONDS
        return min(_AGAIN_SECONDS * 2.0 ** min(self._failures - 1, 10), _EVERY_SECONDS)

    async def _round(self) -> None:
        try:
            async with asyncio.timeout(_ROUND_SECONDS):
                await self.once()
        except (EmbedderAway, GatewayError, TimeoutError) as error:
            self._failures += 1
            _log.warning("vectors_wait", reason=str(error) or "it took too long")
        except Exception:  # noqa: BLE001 (the next round may go well)
            self._failures += 1
            _log.exception("upkeep_failed_unexpectedly")
        else:
            self._failures = 0


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, so long at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
