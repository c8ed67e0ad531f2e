"""A small team: who its members are, and an authenticator that knows them by name."""

import uuid
from collections.abc import Mapping
from typing import Any

from backend.core.db.database import Database
from backend.core.errors import NotAuthenticated
from backend.features.accounts.models import Role, User
from backend.features.auth.principal import EVERYTHING, USER_PERMISSIONS, Permission, Principal

LAWYERS, WRITERS = uuid.UUID(int=1), uuid.UUID(int=2)


def member(trigramme: str, number: int, role_id: uuid.UUID, permissions: frozenset[Permission]) -> Principal:
    """Return a principal with an account."""
    return Principal(trigramme, permissions, user_id=uuid.UUID(int=number), trigramme=trigramme, role_id=role_id)


ANA = member("ana", 11, LAWYERS, USER_PERMISSIONS)
BOB = member("bob", 12, LAWYERS, USER_PERMISSIONS)
EVE = member("eve", 13, WRITERS, USER_PERMISSIONS)
MAY = member("may", 14, WRITERS, frozenset({Permission.USE_MODELS}))
"""May only use models."""
ADA = member("ada", 15, WRITERS, EVERYTHING)
KEY = Principal("settings")
"""A key from the settings: it has no account."""

MEMBERS = {"ana": ANA, "bob": BOB, "eve": EVE, "may": MAY, "ada": ADA}
CALLERS: Mapping[str, Principal] = {**MEMBERS, "key": KEY}


async def fill(database: Database) -> None:
    """Write the team into a database."""
    async with database.transaction() as session:
        session.add_all([Role(id=LAWYERS, name="lawyers"), Role(id=WRITERS, name="writers")])
        await session.flush()
        for name, principal in MEMBERS.items():
            session.add(
                User(id=principal.user_id, email=f"{name}@example.org", trigramme=name, role_id=principal.role_id)
            )


class TeamAuthenticator:
    """Knows callers by the bearer token that is their name; takes the place of `auth.service.Authenticator`."""

    requires_key = True

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return who is calling."""
        name = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        if name not in CALLERS:
            raise NotAuthenticated("a valid API key is needed")
        return CALLERS[name]
