"""A connection to SQLite whose statements end before whoever asked for them may leave.

The driver runs each statement in a thread. A caller who was cancelled used to leave while the thread still began a
transaction that nobody would end: its lock kept everybody from writing, for good, or the driver waited for a thread
that had ended. Here a cancellation is passed on once the statement is done, so that what is closed then is at rest.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import aiosqlite

_ROWS_AT_ONCE = 64


class SqliteConnection(aiosqlite.Connection):
    """The driver's connection to the file of a database; see the module."""

    def __init__(self, database: str) -> None:
        super().__init__(partial(sqlite3.connect, database), _ROWS_AT_ONCE)
        self._thread.daemon = True
        self._is_stopped = False

    def stop(self) -> "asyncio.Future[Any] | None":
        """End the thread, once: what is asked of it after that would never be answered."""
        if self._is_stopped:
            return None
        self._is_stopped = True
        stopped: asyncio.Future[Any] | None = super().stop()
        return stopped

    async def close(self) -> None:
        """Take back what is not committed, then close; statements that were not read to their end go with it."""
        if self._connection is None or not self._running:
            return
        try:
            await self._execute(_end, self._connection)
        finally:
            self._connection = None
            if (stopped := self.stop()) is not None:
                await stopped

    async def commit(self) -> None:
        """Commit; who is cancelled meanwhile hears of it afterwards, so that everybody knows what became of it."""
        await self._at_rest(self._conn.commit)

    async def rollback(self) -> None:
        """Roll back; who is cancelled meanwhile hears of it afterwards, and the connection can be used again."""
        await self._at_rest(self._conn.rollback)

    async def _at_rest(self, work: Callable[[], None]) -> None:
        done, left = await self._done(work)
        if left is not None and (task := asyncio.current_task()) is not None:
            task.uncancel()
            task.cancel()  # raised where it waits next
        done.result()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        done, left = await self._done(partial(fn, *args, **kwargs))
        if left is not None:
            if not done.cancelled():
                done.exception()  # nobody is told any more
            raise left
        return done.result()

    async def _done(self, work: Callable[[], Any]) -> "tuple[asyncio.Future[Any], asyncio.CancelledError | None]":
        """Wait until the thread has done something; also return what cancelled whoever waits."""
        asked: asyncio.Future[Any] = asyncio.ensure_future(super()._execute(work))  # type: ignore[no-untyped-call]
        left: asyncio.CancelledError | None = None
        while not asked.done():
            try:
                await asyncio.wait([asked])
            except asyncio.CancelledError as error:
                left = error
        return asked, left


def _end(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.rollback()
    connection.close()
