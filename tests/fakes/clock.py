"""Clocks that only move when a test says so, or when everybody sleeps."""

import asyncio
import selectors
import threading
import time


class ManualClock:
    """Call it for the time in seconds; `advance` moves it."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing but files; a wait that only ends by time is over at once, and the time is later."""

    now = 1_000.0

    def __init__(self) -> None:
        super().__init__()
        self._threads_before = frozenset(threading.enumerate())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; without a timeout there is no timer to jump to, so this really waits."""
        if not self._threads_before.issuperset(threading.enumerate()):
            began = time.monotonic()
            ready = super().select(timeout)
            self.now += time.monotonic() - began
            return ready
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that sleeps in no time: when nothing can run, its clock jumps to the next timer.

    Limits in tests are then kept to the millisecond, however slow the machine is. While threads
    that began after the loop are alive (a database, a hash), time is real: what they do cannot be jumped over.
    """

    def __init__(self) -> None:
        self._clock = _Jumping()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the time, which only moves when everybody sleeps."""
        return self._clock.now
