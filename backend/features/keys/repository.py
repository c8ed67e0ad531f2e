"""The queries of API keys and public keys."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.repository import Repository
from backend.features.accounts.models import User
from backend.features.keys.models import ApiKey, PublicKey


class ApiKeys(Repository[ApiKey]):
    """API keys."""

    def __init__(self) -> None:
        super().__init__(ApiKey)

    def listed(self, user_id: uuid.UUID | None = None) -> Select[ApiKey]:
        """Return the statement for the keys of a user or of all, newest first."""
        statement = select(ApiKey) if user_id is None else select(ApiKey).where(ApiKey.user_id == user_id)
        return statement.order_by(ApiKey.created_at.desc(), ApiKey.id)

    async def usable(self, session: AsyncSession, key_hash: str, now: datetime) -> tuple[ApiKey, User] | None:
        """Return the key with this hash, or the one that has just replaced it, and whose it is.

        None unless it may be used: it and its owner's account are alive.
        """
        previous = and_(ApiKey.previous_hash == key_hash, ApiKey.previous_until > now)
        statement = (
            select(ApiKey, User)
            .join(User, User.id == ApiKey.user_id)
            .where(or_(ApiKey.key_hash == key_hash, previous), _alive(now), User.is_active.is_(True))
        )
        found = (await session.execute(statement)).unique().one_or_none()
        return None if found is None else (found[0], found[1])

    async def locked(self, session: AsyncSession, key_id: uuid.UUID) -> ApiKey | None:
        """Return a key that nobody else changes until we are done."""
        return await session.get(ApiKey, key_id, with_for_update=True)

    async def made_with(self, session: AsyncSession, row: ApiKey) -> list[ApiKey]:
        """Return the keys to revoke that were made with a key, and with those.

        A key makes keys for its own owner only, so whoever holds the owner's row (`owner_of`) sees all there will be.
        """
        statement = (
            select(ApiKey)
            .where(ApiKey.user_id == row.user_id, ApiKey.created_with.is_not(None), ApiKey.revoked_at.is_(None))
            .where(ApiKey.id != row.id)  # which one of those may have renewed
            .order_by(ApiKey.id)
        )
        made: dict[uuid.UUID | None, list[ApiKey]] = {}
        for key in await session.scalars(statement):
            made.setdefault(key.created_with, []).append(key)
        found = made.pop(row.id, [])
        for key in found:  # grows meanwhile
            found.extend(made.pop(key.id, []))
        return found

    async def prune(self, session: AsyncSession, before: datetime, most: int) -> None:
        """Remove keys that were revoked or expired before a time, some at a time."""
        old = select(ApiKey.id).where(or_(ApiKey.revoked_at < before, ApiKey.expires_at < before)).limit(most)
        statement = delete(ApiKey).where(ApiKey.id.in_(old))
        await session.execute(statement, execution_options={"synchronize_session": False})

    async def alive(self, session: AsyncSession, key_ids: Iterable[uuid.UUID], now: datetime) -> set[uuid.UUID]:
        """Return which of these keys can be used: they and their owners' accounts are alive."""
        statement = (
            select(ApiKey.id)
            .join(User, User.id == ApiKey.user_id)
            .where(ApiKey.id.in_(list(key_ids)), _alive(now), User.is_active.is_(True))
        )
        return set((await session.scalars(statement)).all())

    async def count_alive(self, session: AsyncSession, user_id: uuid.UUID, now: datetime) -> int:
        """Return how many keys of a user can be used."""
        statement = select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, _alive(now))
        return await session.scalar(statement) or 0

    async def note_used(self, session: AsyncSession, key_ids: Iterable[uuid.UUID], now: datetime) -> None:
        """Write down that keys were used, unless that was written within the last minute."""
        long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - timedelta(minutes=1))
        statement = update(ApiKey).where(ApiKey.id.in_(list(key_ids)), long_ago)
        values = {"last_used_at": now, "updated_at": ApiKey.updated_at}
        await session.execute(statement.values(values), execution_options={"synchronize_session": False})


class PublicKeys(Repository[PublicKey]):
    """Public keys."""

    def __init__(self) -> None:
        super().__init__(PublicKey)

    def listed(self, user_id: uuid.UUID | None = None) -> Select[PublicKey]:
        """Return the statement for the public keys of a user or of all, newest first."""
        statement = select(PublicKey) if user_id is None else select(PublicKey).where(PublicKey.user_id == user_id)
        return statement.order_by(PublicKey.created_at.desc(), PublicKey.id)

    async def usable(self, session: AsyncSession, blob: str) -> tuple[PublicKey, User] | None:
        """Return a registered public key and whose it is; None unless their account is alive."""
        statement = (
            select(PublicKey, User)
            .join(User, User.id == PublicKey.user_id)
            .where(PublicKey.blob == blob, User.is_active.is_(True))
        )
        found = (await session.execute(statement)).unique().one_or_none()
        return None if found is None else (found[0], found[1])

    async def registered(self, session: AsyncSession, key_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Return which of these public keys are there."""
        statement = select(PublicKey.id).where(PublicKey.id.in_(list(key_ids)))
        return set((await session.scalars(statement)).all())

    async def is_known(self, session: AsyncSession, blob: str) -> bool:
        """Whether somebody registered a public key."""
        return await session.scalar(select(PublicKey.id).where(PublicKey.blob == blob)) is not None

    async def count(self, session: AsyncSession, user_id: uuid.UUID) -> int:
        """Return how many public keys a user has."""
        statement = select(func.count()).select_from(PublicKey).where(PublicKey.user_id == user_id)
        return await session.scalar(statement) or 0


async def owner_of(session: AsyncSession, user_id: uuid.UUID) -> User | None:
    """Return a user whose account and number of keys nobody else changes until we are done."""
    statement = select(User).where(User.id == user_id).with_for_update(of=User)
    return (await session.execute(statement)).unique().scalar_one_or_none()


def _alive(now: datetime) -> ColumnElement[bool]:
    return and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))
