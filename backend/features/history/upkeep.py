"""What has to be done now and then: ending what a dead process began, indexing, forgetting what is too old."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, bindparam, delete, select, text
from sqlalchemy.engine import Connection

from backend.core.db.database import Database
from backend.core.db.tables import Moment, utc_now
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.history.models import Chat, KeptReply
from backend.features.history.search import index_queued, wipe

_log = get_logger(__name__)

TICK_SECONDS = 1.0
_TICKS_PER_SWEEP = 60
_TICKS_PER_WIPE = 600
_PRUNE_SECONDS = 86_400.0
_PRUNE_BATCH = 200
_REPLIES_ARE_KEPT = timedelta(hours=24)

_SWEEP = text(
    "UPDATE messages SET status = 'interrupted', finished_at = :now WHERE status = 'pending' AND created_at < :before"
).bindparams(bindparam("now", type_=Moment()), bindparam("before", type_=Moment()))


class Upkeep:
    """Looks after the history of all accounts.

    Args:
        database: where it is.
        longest_answer: after which an answer that is still pending belongs to a process that died.
        retention: how long chats are kept after their last use; None means for ever.
    """

    def __init__(
        self,
        database: Database,
        longest_answer: timedelta,
        retention: timedelta | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._longest_answer = longest_answer
        self._retention = retention
        self._now = now
        self._indexing = asyncio.Lock()
        self._compacting = asyncio.Lock()
        self._has_work = True
        self._duties: list[Callable[[], Awaitable[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """End what earlier processes left: on SQLite there is no other process, elsewhere only what is old enough."""
        await self.sweep(all_of_it=self._database.is_embedded)

    def changed(self) -> None:
        """Something was written that is not indexed yet."""
        self._has_work = True

    def each_minute(self, duty: Callable[[], Awaitable[None]]) -> None:
        """Do something more now and then."""
        self._duties.append(duty)

    def start(self) -> None:
        """Begin to look after everything."""
        self._task = asyncio.create_task(self._run(), name="upkeep of the history")

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def sweep(self, *, all_of_it: bool = False) -> int:
        """Mark answers as interrupted that nobody will end; return how many."""
        now = self._now()
        values = {"now": now, "before": now + timedelta(days=1) if all_of_it else now - self._longest_answer}

        def run(connection: Connection) -> int:
            done: CursorResult[Any] = connection.execute(_SWEEP, values)
            connection.execute(delete(KeptReply).where(KeptReply.created_at < now - _REPLIES_ARE_KEPT))
            if all_of_it:
                connection.execute(delete(KeptReply).where(KeptReply.reply.is_(None)))
            return done.rowcount

        return await self._database.in_one(run)

    async def index(self) -> None:
        """Index everything that waits for it; elsewhere than on SQLite the database does that itself."""
        if not self._database.is_embedded:
            return
        async with self._indexing:
            while await self._database.in_one(index_queued):
                pass

    async def prune(self) -> int:
        """Remove chats that were not used for too long, a few at a time; return how many."""
        if self._retention is None:
            return 0
        removed, before = 0, self._now() - self._retention

        def run(connection: Connection) -> int:
            old = connection.scalars(select(Chat.id).where(Chat.updated_at < before).limit(_PRUNE_BATCH)).all()
            if old:
                connection.execute(delete(Chat).where(Chat.id.in_(old)))
            return len(old)

        while count := await self._database.in_one(run):
            removed += count
            await asyncio.sleep(0)
        return removed

    async def compact(self) -> None:
        """Wipe what was deleted off SQLite's disk, a little at a time; see `docs/history.md` for PostgreSQL.

        May be cancelled: what is left is done the next time.
        """
        if not self._database.is_embedded:
            return
        await self.index()
        async with self._compacting:
            done = more = await self._database.in_one(wipe)
            while more:
                more = await self._database.in_one(wipe)
            if done is not None:
                await self._database.flush()

    async def _run(self) -> None:
        ticks, pruned_at = 0, float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            try:
                if self._has_work:
                    self._has_work = False
                    await self.index()
                if ticks % _TICKS_PER_WIPE == 0:
                    await self.compact()
                if ticks % _TICKS_PER_SWEEP == 0:
                    await self.sweep()
                    for duty in self._duties:
                        await duty()
                if loop.time() - pruned_at > _PRUNE_SECONDS:
                    pruned_at = loop.time()
                    await self.prune()
            except GatewayError as error:
                _log.warning("history_not_looked_after", reason=error.message)
            except Exception:  # noqa: BLE001 (the next time may go well)
                _log.exception("history_not_looked_after_unexpectedly")
            ticks += 1
            await asyncio.sleep(TICK_SECONDS)
