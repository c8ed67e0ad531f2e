"""Remembers for a minute whom a credential belongs to, so that a request costs no query.

Only what was found is remembered, and not more than so much: strangers who try keys leave nothing behind. What changes
in this process is forgotten at once; what another process changes is seen here within the minute.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from backend.features.auth.principal import Principal

_SECONDS = 60.0
_MOST = 10_000


class Owned(Protocol):
    """What belongs to somebody."""

    @property
    def principal(self) -> Principal:
        """Who it belongs to."""
        ...


Name = TypeVar("Name")
Found = TypeVar("Found", bound=Owned)


class Known(Generic[Name, Found]):
    """Finds what belongs to somebody by its name.

    Args:
        load: asks the store.
        clock: seconds that never go back.
    """

    def __init__(
        self, load: Callable[[Name], Awaitable[Found | None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._kept: OrderedDict[Name, tuple[float, Found]] = OrderedDict()
        self._changes = 0
        self._followers: list[Known[Any, Any]] = []
        self._tell: Callable[[], None] = lambda: None

    async def find(self, name: Name) -> Found | None:
        """Return what is there, or was within the last minute; None for anything else."""
        kept = self._kept.get(name)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        self._kept.pop(name, None)
        changes, until = self._changes, self._clock() + _SECONDS
        found = await self._load(name)
        if found is not None and changes == self._changes:  # else it may be from before the change
            self._kept[name] = (until, found)
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return found

    def lead(self, follower: "Known[Any, Any]") -> None:
        """Let another memory forget the users that this one forgets."""
        self._followers.append(follower)

    def tell(self, listener: Callable[[], None]) -> None:
        """Let somebody know whenever something was forgotten."""
        self._tell = listener

    def forget(self, name: Name) -> None:
        """Ask the store again for one that has ended."""
        self._changes += 1
        self._kept.pop(name, None)
        self._tell()

    def forget_where(self, is_meant: Callable[[Found], bool]) -> None:
        """Ask the store again for all that fit."""
        self._changes += 1
        for name in [name for name, (_, found) in self._kept.items() if is_meant(found)]:
            del self._kept[name]
        self._tell()

    def forget_user(self, user_id: uuid.UUID) -> None:
        """Ask the store again for everything of a user who has changed."""
        self.forget_where(lambda found: found.principal.user_id == user_id)
        for follower in self._followers:
            follower.forget_user(user_id)

    def forget_all(self) -> None:
        """Ask the store again for everybody: a role has changed."""
        self._changes += 1
        self._kept.clear()
        self._tell()
        for follower in self._followers:
            follower.forget_all()
