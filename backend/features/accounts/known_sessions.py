"""Remembers for a minute which sessions are alive, so that a request costs no query.

Only what was found is remembered. What changes in this process is forgotten at once; what another process changes is
seen here within the minute.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from backend.features.auth.principal import Principal

_SECONDS = 60.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A live session of an active user."""

    principal: Principal
    token_version: int


Load = Callable[[uuid.UUID], Awaitable[KnownSession | None]]


class KnownSessions:
    """Finds live sessions by their id.

    Args:
        load: asks the store.
        forgot: is told whenever something is forgotten.
        clock: seconds that never go back.
    """

    def __init__(
        self, load: Load, forgot: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._forgot = forgot
        self._clock = clock
        self._kept: OrderedDict[uuid.UUID, tuple[float, KnownSession]] = OrderedDict()
        self._changes = 0

    async def find(self, session_id: uuid.UUID) -> KnownSession | None:
        """Return a session that is alive, or was within the last minute; None for any other."""
        kept = self._kept.get(session_id)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        self._kept.pop(session_id, None)
        changes, until = self._changes, self._clock() + _SECONDS
        found = await self._load(session_id)
        if found is not None and changes == self._changes:  # else it may be from before the change
            self._kept[session_id] = (until, found)
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return found

    def forget_session(self, session_id: uuid.UUID) -> None:
        """Ask the store again for a session that has ended."""
        self._changes += 1
        self._kept.pop(session_id, None)
        self._forgot()

    def forget_user(self, user_id: uuid.UUID) -> None:
        """Ask the store again for every session of a user who has changed."""
        self._changes += 1
        for session_id in [key for key, (_, known) in self._kept.items() if known.principal.user_id == user_id]:
            del self._kept[session_id]
        self._forgot()

    def forget_all(self) -> None:
        """Ask the store again for everybody: a role has changed."""
        self._changes += 1
        self._kept.clear()
        self._forgot()
