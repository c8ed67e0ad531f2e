"""Many small writes in one transaction: what streams begin and end with costs one commit for all that come together.

While one transaction runs, what comes meanwhile gathers for the next; a write alone waits for nobody. A writer is a
plain function over a synchronous connection: on SQLite it runs in a thread of its own, without a round trip to the
thread per statement.
"""

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from backend.core.db.database import Database
from backend.core.errors import Collided, Overloaded, StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

Writer = Callable[[Connection, Sequence[Item]], Sequence[Result]]
"""Writes several items; returns one result per item, in their order. May run again after a failure, with fewer items.

A transaction runs its writers in the order of their names, so that processes which share a store lock in one order.
"""

_MAX_BATCH = 256
_MAX_WAITING = 20_000
_LINGER_SECONDS = 0.05
"""How long a write waits for company that nobody waits for."""
_CLOSING_SECONDS = 10.0
"""How long the end of the process waits for a store to take what is left."""
_FULL = "the gateway's database cannot keep up; try again"
_LEFT = "the gateway ends before its database has answered; try again"


@dataclass(slots=True)
class _Write:
    writer: Hashable
    item: Any
    is_durable: bool
    done: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupCommit:
    """Commits writes together, each writer's in the order they came."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Write] = []
        self._running: Sequence[_Write] = ()
        self._undone: list[Callable[[], None]] = []
        self._has_work = asyncio.Event()
        self._is_closing = False
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def write(
        self, writer: "Writer[Item, Result]", item: Item, *, is_urgent: bool = True, is_durable: bool = True
    ) -> "asyncio.Future[Result]":
        """Put an item in the queue; return what becomes its result once it is committed.

        Abandoning the result does not take the write back. The result raises `GatewayError` when the store does not
        answer or refuses the item.

        Args:
            writer: writes it.
            item: what is written.
            is_urgent: whether somebody waits; else it goes with the next commit, or with one of its own soon.
            is_durable: whether it must outlive a loss of power, and not only of the process. What need not is not kept
                waiting for the disk, unless it goes with what must.
        """
        if len(self._waiting) >= _MAX_WAITING or self._is_closing:
            raise Overloaded(_FULL, retry_after=2.0)
        write = _Write(writer, item, is_durable)
        self._waiting.append(write)
        if is_urgent or len(self._waiting) >= _MAX_BATCH:
            self._ring()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._ring)
        return write.done

    def _ring(self) -> None:
        """Let what waits be committed now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_due = True
        self._has_work.set()

    def when_undone(self, tell: Callable[[], None]) -> None:
        """Tell whenever a transaction came to nothing, before any of its items is written anew."""
        self._undone.append(tell)

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="group commit")

    async def aclose(self) -> None:
        """Commit what waits, then stop; what a store does not take in time is given up."""
        self._is_closing = True
        self._ring()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._task, _CLOSING_SECONDS)
        _fail([*self._running, *self._waiting], StoreUnavailable(_LEFT, retry_after=2.0))

    async def _run(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._is_due and self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                self._is_due = bool(self._waiting)
                self._running = batch
                await self._commit(batch)
                self._running = ()
            if self._is_closing:
                return

    async def _commit(self, batch: Sequence[_Write]) -> None:
        """Write all or none; then let one bad item keep none of the others from being written."""
        error = await self._try(batch)
        if isinstance(error, Collided):
            error = await self._try(batch)
        if error is None:
            return
        if len(batch) == 1 or isinstance(error, StoreUnavailable):
            _fail(batch, error)
            return
        for place, write in enumerate(batch):
            alone = await self._try([write])
            if isinstance(alone, StoreUnavailable):
                _fail(batch[place:], alone)
                return
            if alone is not None:
                _fail([write], alone)

    async def _try(self, batch: Sequence[_Write]) -> Exception | None:
        """Write some in one transaction and give them their results; return why that came to nothing."""
        is_durable = any(write.is_durable for write in batch)
        try:
            results = await self._database.in_one(
                lambda connection: _write_all(connection, batch), is_durable=is_durable
            )
        except Exception as error:  # noqa: BLE001 (each item is told)
            for tell in self._undone:
                tell()
            return error
        for write, result in zip(batch, results, strict=True):
            if not write.done.done():
                write.done.set_result(result)
        return None


def _fail(batch: Sequence[_Write], error: Exception) -> None:
    """Tell those that wait."""
    for write in batch:
        if not write.done.done():
            write.done.set_exception(error)
            write.done.exception()  # nobody need be waiting any more


def _write_all(connection: Connection, batch: Sequence[_Write]) -> list[Any]:
    results: list[Any] = [None] * len(batch)
    places: dict[Hashable, list[int]] = {}
    for place, write in enumerate(batch):
        places.setdefault(write.writer, []).append(place)
    for writer, own in sorted(places.items(), key=_name):
        for place, result in zip(own, writer(connection, [batch[p].item for p in own]), strict=True):  # type: ignore[operator]
            results[place] = result
    return results


def _name(of: tuple[Any, list[int]]) -> tuple[str, str]:
    """Return what a writer is sorted by."""
    return of[0].__module__, of[0].__qualname__
