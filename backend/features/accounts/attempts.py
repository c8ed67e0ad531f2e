"""Bounds how often somebody may try to log in: per account and per address, as `limits` counts it.

Counting is behind a port, so that several processes can share it in a store of their own.
"""

import math
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from backend.core.errors import RateLimited

_TOLD = "told"


class TooManyAttempts(RateLimited):
    """Somebody tried too often; `is_first` when nobody was told so before in the same window."""

    def __init__(self, wait: float, *, is_first: bool) -> None:
        super().__init__(f"too many attempts; try again in {math.ceil(wait)} s", retry_after=wait)
        self.is_first = is_first


class Attempt(StrEnum):
    """What is tried, and by whom it is counted."""

    LOGIN_TO_ACCOUNT = "login-account"
    LOGIN_FROM_ADDRESS = "login-address"
    LOGIN_TO_ACCOUNT_FROM_ADDRESS = "login-account-address"
    REGISTER = "register"
    REFRESH = "refresh"
    BOOTSTRAP = "bootstrap"
    PROVIDER = "provider"


class Attempts(Protocol):
    """Counts attempts.

    `admit` counts before anything is checked, so that many at the same time do not slip through together.
    """

    async def admit(self, attempt: Attempt, who: str) -> None:
        """Count one attempt; raise `TooManyAttempts` with the time to wait when there were too many."""
        ...

    async def forgive(self, attempt: Attempt, who: str) -> None:
        """Forget the attempts of somebody who has shown to be right."""
        ...


class MemoryAttempts:
    """Counts in this process.

    Args:
        rules: how many are allowed, in the words of `limits`, for example `5/minute;20/hour`.
    """

    def __init__(self, rules: Mapping[Attempt, str]) -> None:
        self._rules: dict[Attempt, list[RateLimitItem]] = {what: parse_many(rule) for what, rule in rules.items()}
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)

    async def admit(self, attempt: Attempt, who: str) -> None:
        """See `Attempts.admit`."""
        for rule in self._rules.get(attempt, ()):
            if not await self._limiter.hit(rule, attempt, who):
                stats = await self._limiter.get_window_stats(rule, attempt, who)
                wait = max(stats.reset_time - time.time(), 1.0)
                once = type(rule)(1, rule.multiples)
                raise TooManyAttempts(wait, is_first=await self._limiter.hit(once, _TOLD, attempt, who))

    async def forgive(self, attempt: Attempt, who: str) -> None:
        """Forget the attempts of somebody."""
        for rule in self._rules.get(attempt, ()):
            await self._limiter.clear(rule, attempt, who)
