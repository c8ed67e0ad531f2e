"""What keeps the ledger true beside the requests: what a dead process left open, what waits, what is too old.

A request counts as lost when nobody can be answering it any more: at the start where the store belongs to this process
alone, else when it is older than any answer may get. Should its end be told after all, that counts instead.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.db.database import Database
from backend.core.db.tables import utc_now
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.usage.entries import Entry, Limit, Settle
from backend.features.usage.ledger import Ledger
from backend.features.usage.limits import Limits
from backend.features.usage.models import LOST, UsageEntry
from backend.features.usage.prices import PriceList
from backend.features.usage.repository import QuotaWindows, UsageEntries

_log = get_logger(__name__)

RETRY_SECONDS = 2.0
SWEEP_SECONDS = 60.0
TIDY_SECONDS = 3600.0
_BATCH = 500
_SETTLE_SECONDS = 5.0
_WINDOW_DAYS = 7


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things count and are kept."""

    longest_answer: timedelta
    """No request is older than this while somebody answers it."""
    ledger_days: int


class Housekeeping:
    """Runs beside the requests; see the module."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        limits: Limits,
        prices: PriceList,
        retention: Retention,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._limits = limits
        self._prices = prices
        self._retention = retention
        self._now = now
        self._entries = UsageEntries()
        self._windows = QuotaWindows()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Give up what an earlier process left open, then look after everything until closed."""
        if self._database.is_embedded:
            with contextlib.suppress(GatewayError):
                await self.give_up(self._now())
        for name, job, seconds in (
            ("retry the ledger", self._ledger.retry, RETRY_SECONDS),
            ("sweep the ledger", self.sweep, SWEEP_SECONDS),
            ("tidy the ledger", self.tidy, TIDY_SECONDS),
        ):
            self._tasks.append(asyncio.create_task(_repeat(job, seconds), name=name))

    async def aclose(self) -> None:
        """Stop, and try once more to write what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ledger.retry()

    async def sweep(self) -> None:
        """Give up what nobody can be answering any more, and learn about the quotas that other processes changed."""
        await self._limits.refresh()
        await self.give_up(self._now() - self._retention.longest_answer)

    async def give_up(self, before: datetime) -> int:
        """Let the open requests that began before some time count as lost; return how many there were."""
        lost = 0
        while True:
            async with self._database.reading() as reading:
                rows = await self._entries.open_before(reading, before, _BATCH)
            ends = [self._lost(row) for row in rows]
            written = [self._ledger.settle(end, linger=0) for end in ends]
            waiting = [one for one in written if one is not None]
            if waiting:
                await asyncio.wait(waiting, timeout=_SETTLE_SECONDS)
            lost += len(ends)
            if len(ends) < _BATCH or self._ledger.spooled:
                break
        if lost:
            _log.warning("requests_lost", count=lost)
        return lost

    async def tidy(self) -> None:
        """Remove what is too old, a little at a time, and what leads to erased users."""
        now = self._now()
        oldest = now - timedelta(days=self._retention.ledger_days)
        removed = _BATCH
        while removed == _BATCH:
            async with self._database.transaction() as transaction:
                removed = await self._entries.remove_before(transaction, oldest, _BATCH)
        async with self._database.transaction() as transaction:
            await self._windows.remove_before(transaction, now.date() - timedelta(days=_WINDOW_DAYS))
            await self._entries.clear_erased(transaction)

    def _lost(self, row: UsageEntry) -> Settle:
        limits = tuple(Limit(subject, 0) for subject in row.subjects.split())
        entry = Entry(
            at=row.at,
            kind=row.kind,
            model=row.model,
            user_id=row.user_id,
            estimate=row.estimate,
            reserved=row.reserved,
            limits=limits,
            id=row.id,
        )
        cost = self._prices.cost((row.model,), row.estimate, 0)
        currency = "" if cost is None else self._prices.currency
        return Settle(entry, LOST, row.estimate, 0, self._now(), cost=cost, currency=currency)


async def _repeat(job: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Do something again and again; a failure is logged and the next time comes all the same."""
    while True:
        try:
            await job()
        except GatewayError as error:
            _log.warning("ledger_untended", reason=error.message)
        except Exception:  # noqa: BLE001 (the next time comes)
            _log.exception("ledger_untended_unexpectedly")
        await asyncio.sleep(seconds)
