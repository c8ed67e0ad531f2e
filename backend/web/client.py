"""Notices when the client leaves, or stops reading, while we work for it.

Neither a plain handler nor a response class of our own is told by the server; both have to ask `receive`. One task per
request does that, and cancels the work it guards.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Self

from starlette.types import Receive

from backend.core.errors import ClientGone


class ClientWatch:
    """Watches one client from after its body was read until the response is over.

    `guard` marks the work to cancel when it leaves. A write between `sending` and `sent` that takes longer than
    `stall_seconds` counts as leaving. Whoever called `start` must call `stop`.
    """

    __slots__ = ("_guarded", "_loop", "_receive", "_sending_since", "_stall", "_task", "_timer", "gone")

    def __init__(self, receive: Receive, stall_seconds: float) -> None:
        self.gone = asyncio.Event()
        self._receive = receive
        self._stall = stall_seconds
        self._guarded: asyncio.Task[object] | None = None
        self._sending_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> Self:
        """Begin to watch."""
        self._task = asyncio.create_task(self._wait(), name="watch client")
        return self

    def stop(self) -> None:
        """End watching."""
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Cancel what runs inside when the client leaves, and raise `ClientGone` then."""
        task = asyncio.current_task()
        if self.gone.is_set():
            raise ClientGone
        self._guarded = task
        try:
            yield
        except asyncio.CancelledError:
            if self.gone.is_set() and task is not None and task.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            self._guarded = None

    def sending(self) -> None:
        """Note that a write begins, so that a client that stopped reading is noticed."""
        self._sending_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._stall, self._check_stall)

    def sent(self) -> None:
        """Note that the write is over."""
        self._sending_since = None

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.gone.set()
        if self._guarded is not None:
            self._guarded.cancel()

    def _check_stall(self) -> None:
        now = self._loop.time()
        due = (now if self._sending_since is None else self._sending_since) + self._stall
        if now >= due:
            self._leave()
        else:
            self._timer = self._loop.call_at(due, self._check_stall)
