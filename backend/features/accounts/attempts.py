"""Bounds how often somebody may try to log in: per account and per address."""

import math
from collections.abc import Mapping
from enum import StrEnum

from limits import RateLimitItem, parse_many

from backend.core.errors import RateLimited
from backend.features.auth.windows import MemoryWindows, Windows

_TOLD = "told"


class TooManyAttempts(RateLimited):
    """Somebody tried too often; `is_first` when nobody was told so before in the same window."""

    def __init__(self, message: str, *, retry_after: float | None = None, is_first: bool = False) -> None:
        super().__init__(message, retry_after=retry_after)
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


class Attempts:
    """Counts attempts.

    Args:
        rules: how many are allowed, in the words of `limits`, for example `5/minute;20/hour`.
        windows: where is counted; in this process unless told.
    """

    def __init__(self, rules: Mapping[Attempt, str], windows: Windows | None = None) -> None:
        self._rules: dict[Attempt, list[RateLimitItem]] = {what: parse_many(rule) for what, rule in rules.items()}
        self._windows = windows or MemoryWindows()

    async def admit(self, attempt: Attempt, who: str) -> None:
        """Count one attempt; raise `TooManyAttempts` with the time to wait when there were too many.

        It is counted before anything is checked, so that many at the same time do not slip through together.
        """
        for rule in self._rules.get(attempt, ()):
            if (wait := await self._windows.hit(rule, attempt, who)) is not None:
                once = type(rule)(1, rule.multiples)
                is_first = await self._windows.hit(once, _TOLD, attempt, who) is None
                told = f"too many attempts; try again in {math.ceil(wait)} s"
                raise TooManyAttempts(told, retry_after=wait, is_first=is_first)

    async def forgive(self, attempt: Attempt, who: str) -> None:
        """Forget the attempts of somebody who has shown to be right."""
        for rule in self._rules.get(attempt, ()):
            await self._windows.forget(rule, attempt, who)
