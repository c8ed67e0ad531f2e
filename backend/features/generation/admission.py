"""Bounds how many answers are generated at once and how many requests may wait for their turn."""

import asyncio
from collections import deque
from dataclasses import dataclass

from backend.core.errors import Overloaded

_RETRY_AFTER = 2.0
BUSY = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's own words, two spaces included; clients match them."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How much one process takes on."""

    concurrent: int = 1000
    queued: int = 512
    queue_seconds: float = 30.0


class Admission:
    """A queue in order of arrival before a fixed number of places."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place, waiting for one if need be; raise `Overloaded` when the queue is full or the wait too long."""
        if self._active < self._limits.concurrent:
            self._active += 1
            return
        if len(self._waiting) >= self._limits.queued:
            raise Overloaded(BUSY, retry_after=_RETRY_AFTER)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._limits.queue_seconds):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise Overloaded(BUSY, retry_after=_RETRY_AFTER) from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def leave(self) -> None:
        """Give the place to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._active -= 1

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.leave()  # the place came in the same moment
        elif turn in self._waiting:
            self._waiting.remove(turn)
