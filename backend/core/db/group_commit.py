"""Many small writes in one transaction: what streams begin and end with costs one commit for all that come together.

While one transaction runs, what comes meanwhile gathers for the next; a write alone waits for nobody. A writer is a
plain function over a synchronous connection: on SQLite it runs in a thread of its own, without a round trip to the
thread per statement.
"""

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from backend.core.db.database import SILENT, Database
from backend.core.errors import Collided, Overloaded, StoreUnavailable
from backend.core.logging import get_logger

_log = get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

Writer = Callable[[Connection, Sequence[Item]], Sequence[Result]]
"""Writes several items; returns one result per item, in their order. May run again after a failure, with fewer items.

A transaction runs its writers in one order, so that processes which share a store lock in one order: those that
`GroupCommit` was given, then the others by name.
"""

Told = Callable[[Any, Exception | None], None]
"""Takes the result of a write or why there is none, as soon as it is known."""

_MAX_BATCH = 256
_MAX_WAITING = 20_000
UNHURRIED = 0.05
"""How long a write lingers that nobody waits for, in seconds."""
_LOOK_SECONDS = 0.5
"""How exactly patience is measured: a timer for every write would cost more than the rest of it."""
_CLOSING_SECONDS = 10.0
"""How long the end of the process waits for a store to take what is left."""
_FULL = "the gateway's database cannot keep up; try again"
_LEFT_OUT = object()
"""The result of an item that was not written because of the one before it."""
_LEFT = "the gateway ends before its database has answered; try again"


@dataclass(slots=True)
class _Write:
    writer: Hashable
    item: Any
    is_durable: bool
    after: "asyncio.Future[Any] | None"
    due: float | None
    told: Told | None
    is_settled: bool = False
    done: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupCommit:
    """Commits writes together, each writer's in the order they came.

    Args:
        database: where they are written.
        first: writers that come first in a transaction, in this order.
    """

    def __init__(self, database: Database, first: "Sequence[Writer[Any, Any]]" = ()) -> None:
        self._database = database
        self._first: Mapping[Hashable, int] = {writer: place for place, writer in enumerate(first)}
        self._waiting: list[_Write] = []
        self._running: Sequence[_Write] = ()
        self._undone: list[Callable[[], None]] = []
        self._has_work = asyncio.Event()
        self._is_closing = False
        self._is_closed = False
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._looks: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def write(
        self,
        writer: "Writer[Item, Result]",
        item: Item,
        *,
        linger: float = 0.0,
        is_durable: bool = True,
        after: "asyncio.Future[Any] | None" = None,
        patience: float | None = None,
        told: Told | None = None,
    ) -> "asyncio.Future[Result]":
        """Put an item in the queue; return what becomes its result once it is committed.

        Who waits for the result may be cancelled: that does not take the write back. The result raises `GatewayError`
        when the store does not answer or refuses the item.

        Args:
            writer: writes it.
            item: what is written.
            linger: seconds that it waits for company, if no other write has one begun before.
            is_durable: whether it must outlive a loss of power, and not only of the process. What need not is not kept
                waiting for the disk, unless it goes with what must.
            after: an earlier write whose writer is one of `first`. Unless its result is None, this one is left out and
                its result cancelled; both can be in one transaction.
            patience: seconds, about, after which whoever waits gets `StoreUnavailable`; the write stays in the queue.
            told: is called with what becomes of it in the end, whether somebody still waits or not, unless it is left
                out; must not raise.
        """
        if self._is_closed:
            raise Overloaded(_LEFT, retry_after=2.0)
        if len(self._waiting) >= _MAX_WAITING:
            raise Overloaded(_FULL, retry_after=2.0)
        now = asyncio.get_running_loop().time()
        write = _Write(writer, item, is_durable, after, None if patience is None else now + patience, told)
        self._waiting.append(write)
        if patience is not None and self._looks is None:
            self._looks = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        if not linger or self._is_closing or len(self._waiting) >= _MAX_BATCH:
            self._ring()
        elif not self._is_due and (self._timer is None or self._timer.when() > now + linger):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(linger, self._ring)
        return write.done

    def _ring(self) -> None:
        """Let what waits be committed now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_due = True
        self._has_work.set()

    def _look(self) -> None:
        """Send away those who have waited for longer than they wanted to."""
        loop = asyncio.get_running_loop()
        patient = [write for write in (*self._running, *self._waiting) if write.due is not None]
        for write in patient:
            if write.due is not None and write.due <= loop.time():
                _give(write, None, StoreUnavailable(SILENT, retry_after=2.0))
        self._looks = loop.call_later(_LOOK_SECONDS, self._look) if patient else None

    def when_undone(self, tell: Callable[[], None]) -> None:
        """Tell whenever a transaction came to nothing, before any of its items is written anew."""
        self._undone.append(tell)

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="group commit")

    async def aclose(self) -> None:
        """Commit what waits, and what those who are told of it write then; what is not taken in time is given up."""
        self._is_closing = True
        self._ring()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._task, _CLOSING_SECONDS)
        self._is_closed = True
        if self._looks is not None:
            self._looks.cancel()
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
            if self._is_closing and not self._waiting:
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
                lambda connection: self._write_all(connection, batch), is_durable=is_durable
            )
        except Exception as error:  # noqa: BLE001 (each item is told)
            for tell in self._undone:
                tell()
            return error
        for write, result in zip(batch, results, strict=True):
            if result is _LEFT_OUT:
                write.done.cancel()
            else:
                _settle(write, result, None)
        return None

    def _write_all(self, connection: Connection, batch: Sequence[_Write]) -> list[Any]:
        results: list[Any] = [None] * len(batch)
        places: dict[Hashable, list[int]] = {}
        for place, write in enumerate(batch):
            places.setdefault(write.writer, []).append(place)
        found = {write.done: place for place, write in enumerate(batch)}
        for writer, own in sorted(places.items(), key=self._order):
            left_out = [place for place in own if _is_left_out(batch[place].after, found, results)]
            for place in left_out:
                results[place] = _LEFT_OUT
            written = [place for place in own if results[place] is not _LEFT_OUT]
            if not written:
                continue
            told = writer(connection, [batch[place].item for place in written])  # type: ignore[operator]
            for place, result in zip(written, told, strict=True):
                results[place] = result
        return results

    def _order(self, of: tuple[Any, list[int]]) -> tuple[int, str, str]:
        """Return what a writer is sorted by."""
        writer = of[0]
        return self._first.get(writer, len(self._first)), writer.__module__, writer.__qualname__


def _fail(batch: Sequence[_Write], error: Exception) -> None:
    """Tell those that wait."""
    for write in batch:
        _settle(write, None, error)


def _settle(write: _Write, result: Any, error: Exception | None) -> None:
    """Tell what became of a write in the end, once."""
    if write.is_settled:
        return
    write.is_settled = True
    _give(write, result, error)
    if write.told is not None:
        try:
            write.told(result, error)
        except Exception:  # noqa: BLE001 (the others are told all the same)
            _log.exception("not_told_of_a_write")


def _give(write: _Write, result: Any, error: Exception | None) -> None:
    """Let whoever waits go on."""
    if write.done.done():
        return
    if error is None:
        write.done.set_result(result)
    else:
        write.done.set_exception(error)
        write.done.exception()  # nobody need be waiting


def _is_left_out(
    after: "asyncio.Future[Any] | None", found: "Mapping[asyncio.Future[Any], int]", results: Sequence[Any]
) -> bool:
    """Whether the write that an item stands on came to something else than None, or to nothing."""
    if after is None:
        return False
    if (place := found.get(after)) is not None:
        return results[place] is not None
    return not after.done() or after.cancelled() or after.exception() is not None or after.result() is not None
