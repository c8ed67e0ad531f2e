"""Bounds how often somebody may try to log in: per account and per address, as `limits` counts it.

Counting is behind a port, so that several processes can share it in a store of their own.
"""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from backend.core.errors import RateLimited


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
        """Count one attempt; raise `RateLimited` with the time to wait when there were too many."""
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
        """Count one attempt; raise `RateLimited` when there were too many."""
        for rule in self._rules.get(attempt, ()):
            if not await self._limiter.hit(rule, attempt, who):
                stats = await self._limiter.get_window_stats(rule, attempt, who)
                wait = max(stats.reset_time - time.time(), 1.0)
                raise RateLimited("too many attempts; wait and try again", retry_after=wait)

    async def forgive(self, attempt: Attempt, who: str) -> None:
        """Forget the attempts of somebody."""
        for rule in self._rules.get(attempt, ()):
            await self._limiter.clear(rule, attempt, who)
