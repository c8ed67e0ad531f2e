"""Bounds how many requests a credential may send in a minute."""

import math

from limits import RateLimitItemPerMinute

from backend.core.errors import RateLimited
from backend.features.auth.windows import MemoryWindows, Windows

MOST_PER_MINUTE = 10_000
"""The highest limit that may be set; each request counted is remembered for a minute."""


class RequestRates:
    """Counts requests, in this process unless told where."""

    def __init__(self, windows: Windows | None = None) -> None:
        self._windows = windows or MemoryWindows()

    async def admit(self, who: str, per_minute: int) -> None:
        """Count one request; raise `RateLimited` with the time to wait when there were too many."""
        wait = await self._windows.hit(RateLimitItemPerMinute(per_minute), "requests", who)
        if wait is not None:
            told = f"this key may send {per_minute} requests a minute; try again in {math.ceil(wait)} s"
            raise RateLimited(told, retry_after=wait)
