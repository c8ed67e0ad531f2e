"""Bounds how long a stream may wait for its upstream, at the cost of one clock read per wait.

`asyncio.timeout` would set and cancel a timer for every token; here one timer per stream looks, when it fires, whether
the wait has really lasted too long, and sleeps on if not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from backend.llm.errors import ProviderTimeout

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The limits of one upstream call, in seconds."""

    connect: float = 5.0
    first_byte: float = 60.0
    """From sending the request to the first event of the answer."""
    idle: float = 60.0
    """Between two reads after that."""
    total: float = 600.0


class Watchdog:
    """Watches the waits of one upstream call; belongs to one task at a time.

    Until `started` is called the first-byte limit runs without pause, whatever trickles in; afterwards each wait may
    last `idle`. `total` bounds the whole. A wait that is over its limit is cancelled and raises `ProviderTimeout`.
    """

    __slots__ = (
        "_backend",
        "_deadline",
        "_expired",
        "_limit",
        "_loop",
        "_since",
        "_task",
        "_timeouts",
        "_timer",
    )

    def __init__(self, backend: str, timeouts: Timeouts) -> None:
        self._backend = backend
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._deadline = now + timeouts.total
        self._limit: float | None = None
        self._since = now
        self._expired = ""
        self._task: asyncio.Task[object] | None = None
        self._timer = self._loop.call_at(min(now + timeouts.first_byte, self._deadline), self._check)

    def started(self) -> None:
        """Note that the answer has begun: from now on the idle limit counts."""
        self._limit = self._timeouts.idle
        self._since = self._loop.time()
        self._timer.cancel()
        self._timer = self._loop.call_at(min(self._since + self._limit, self._deadline), self._check)

    def progressed(self) -> None:
        """Note, in the middle of a wait, that something moved: the idle limit counts from now."""
        self._limit = self._timeouts.idle
        self._since = self._loop.time()

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def enter(self) -> None:
        """Begin a wait of the running task; raise `ProviderTimeout` when the time was up before it."""
        self._raise_if_expired()
        if self._limit is not None:
            self._since = self._loop.time()
        self._task = asyncio.current_task(self._loop)

    def leave(self) -> None:
        """End the wait."""
        self._task = None

    def cancelled(self) -> None:
        """Handle a cancellation of the wait: raise `ProviderTimeout` if it was ours, return if it came from outside."""
        task = self._task
        if self._expired and task is not None and task.uncancel() == 0:
            self._raise_if_expired()

    async def wait(self, read: Callable[[], Awaitable[Result]]) -> Result:
        """Await `read()`; raise `ProviderTimeout` when it takes too long."""
        self.enter()
        try:
            return await read()
        except asyncio.CancelledError:
            self.cancelled()
            raise
        finally:
            self.leave()

    def _raise_if_expired(self) -> None:
        if self._expired:
            raise ProviderTimeout(self._expired) from None

    def _check(self) -> None:
        now = self._loop.time()
        limit = self._timeouts.first_byte if self._limit is None else self._limit
        is_waiting = self._task is not None or self._limit is None
        due = min(self._since + limit, self._deadline) if is_waiting else min(now + limit, self._deadline)
        if now < due:
            self._timer = self._loop.call_at(due, self._check)
            return
        self._expired = self._explain(over_all=now >= self._deadline)
        if self._task is not None:
            self._task.cancel()

    def _explain(self, *, over_all: bool) -> str:
        if over_all:
            return f"backend {self._backend!r} took more than {self._timeouts.total:g} s for one answer"
        if self._limit is None:
            return (
                f"backend {self._backend!r} did not begin to answer within {self._timeouts.first_byte:g} s; try again"
            )
        return f"backend {self._backend!r} stalled for more than {self._timeouts.idle:g} s in mid-answer; try again"
