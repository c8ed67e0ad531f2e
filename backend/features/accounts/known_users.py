"""Remembers accounts by email, for requests that a front end sends for its users; see `auth.known`."""

from dataclasses import dataclass

from backend.core.db.database import Database
from backend.core.errors import NotAuthenticated
from backend.features.accounts.email import readable_email
from backend.features.accounts.repository import Users
from backend.features.accounts.sessions import principal_for
from backend.features.auth.known import Known
from backend.features.auth.principal import Principal

_SUSPENDED = "the account of this request's user is suspended; ask an administrator"


@dataclass(frozen=True, slots=True)
class KnownUser:
    """Somebody with an account."""

    principal: Principal
    is_active: bool


class DatabaseUsers:
    """The accounts of the database; a `UserStore`."""

    def __init__(self, database: Database) -> None:
        self.known: Known[str, KnownUser] = Known(self._load)
        self._database = database
        self._users = Users()

    async def find(self, email: str) -> Principal | None:
        """Return who has an account with this email; raise `NotAuthenticated` when it is suspended."""
        known = await self.known.find(email)
        if known is None:
            return None
        if not known.is_active:
            raise NotAuthenticated(_SUSPENDED)
        return known.principal

    async def _load(self, text: str) -> KnownUser | None:
        email = readable_email(text)
        if email is None:
            return None
        async with self._database.reading() as reading:
            user = await self._users.by_email(reading, email)
        return None if user is None else KnownUser(principal_for(user, None), user.is_active)
