"""Bounds how many requests a credential may send in a minute, as `limits` counts them."""

import math
import time
from typing import Protocol

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from backend.core.errors import RateLimited

MOST_PER_MINUTE = 10_000
"""The highest limit that may be set; each request counted is remembered for a minute."""


class RequestRates(Protocol):
    """Counts requests; several processes may share it in a store of their own."""

    async def admit(self, who: str, per_minute: int) -> None:
        """Count one request; raise `RateLimited` with the time to wait when there were too many."""
        ...


class MemoryRates:
    """Counts in this process: with several, each grants as many."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def admit(self, who: str, per_minute: int) -> None:
        """Count one request; raise `RateLimited` when there were too many."""
        rule = RateLimitItemPerMinute(per_minute)
        if await self._limiter.hit(rule, who):
            return
        stats = await self._limiter.get_window_stats(rule, who)
        wait = max(stats.reset_time - time.time(), 1.0)
        told = f"this key may send {per_minute} requests a minute; try again in {math.ceil(wait)} s"
        raise RateLimited(told, retry_after=wait)
