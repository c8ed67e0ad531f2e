"""Bounds how often somebody may try to log in: per account and per address."""

from collections.abc import Mapping
from enum import StrEnum

from limits import RateLimitItem, parse_many

from backend.core.errors import RateLimited
from backend.features.auth.windows import MemoryWindows, Windows


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
        """Count one attempt; raise `RateLimited` with the time to wait when there were too many.

        It is counted before anything is checked, so that many at the same time do not slip through together.
        """
        for rule in self._rules.get(attempt, ()):
            if (wait := await self._windows.hit(rule, attempt, who)) is not None:
                raise RateLimited("too many attempts; wait and try again", retry_after=wait)

    async def forgive(self, attempt: Attempt, who: str) -> None:
        """Forget the attempts of somebody who has shown to be right."""
        for rule in self._rules.get(attempt, ()):
            await self._windows.forget(rule, attempt, who)
