"""Which quotas a caller has: the key's own, and the one of whoever it belongs to.

The quotas of users are few, so all are in memory: no request asks the store for them, and they hold while it is away.
"""

import uuid
from collections.abc import Mapping

from backend.core.db.database import Database
from backend.features.auth.principal import Principal
from backend.features.usage.entries import Limit
from backend.features.usage.repository import UserQuotas


def user_subject(user_id: uuid.UUID) -> str:
    """Return how a user's quota is called in the store."""
    return f"user-{user_id}"


class Limits:
    """Knows the quotas of callers.

    Args:
        database: keeps what administrators said about single users.
        default: what every other user may use in a day; None means any number.
    """

    def __init__(self, database: Database, default: int | None) -> None:
        self.default = default
        self._database = database
        self._quotas = UserQuotas()
        self._users: Mapping[uuid.UUID, int | None] = {}

    async def refresh(self) -> None:
        """Read all quotas of users anew; raise `StoreUnavailable` when the store does not answer."""
        async with self._database.reading() as reading:
            self._users = await self._quotas.everything(reading)

    def of_user(self, user_id: uuid.UUID) -> int | None:
        """Return what a user may use in a day; None means any number."""
        return self._users.get(user_id, self.default)

    def of(self, principal: Principal) -> tuple[Limit, ...]:
        """Return all quotas that a caller's requests count for."""
        user_id, own = principal.user_id, principal.tokens_per_day
        users = None if user_id is None else self.of_user(user_id)
        if own is None and users is None:
            return ()
        found: list[Limit] = []
        if own is not None and principal.key_id is not None:
            found.append(Limit(principal.key_id, own, "key"))
        if users is not None and user_id is not None:
            found.append(Limit(user_subject(user_id), users, "user"))
        return tuple(found)
