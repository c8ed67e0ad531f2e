"""A small team: who its members are, and a store of keys that are their names."""

import uuid
from collections.abc import Mapping

from backend.core.db.database import Database
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


class TeamKeys:
    """A `KeyStore` in which everybody's key is their name."""

    async def find(self, secret: str, peer: str = "") -> Principal | None:  # noqa: ARG002 (good from everywhere)
        """Return who shows this key."""
        return CALLERS.get(secret)
