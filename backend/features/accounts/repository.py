"""The queries of users, roles, sessions and one-time tokens."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.repository import Repository
from backend.features.accounts.models import ADMIN, BootstrapToken, RefreshToken, Role, Session, User


class Users(Repository[User]):
    """Users."""

    def __init__(self) -> None:
        super().__init__(User)

    def all(self) -> Select[User]:
        """Return the statement for all of them, by email."""
        return select(User).order_by(User.email)

    async def by_email(self, session: AsyncSession, email: str) -> User | None:
        """Return the user with this address, given in lower case."""
        return await self.one(session, select(User).where(User.email == email))

    async def locked(self, session: AsyncSession, user_id: uuid.UUID) -> User | None:
        """Return a user whom nobody else changes until we are done; who begins a session or ends all waits here."""
        return await self.one(session, select(User).where(User.id == user_id).with_for_update(of=User))

    async def by_subject(self, session: AsyncSession, subject: str) -> User | None:
        """Return the user tied to somebody at a login provider."""
        return await self.one(session, select(User).where(User.oidc_subject == subject))

    async def tie(self, session: AsyncSession, user_id: uuid.UUID, subject: str) -> bool:
        """Tie a user to somebody at a login provider; return False when they are tied already. Of two, one wins."""
        statement = update(User).where(User.id == user_id, User.oidc_subject.is_(None))
        return await _changed(session, statement.values(oidc_subject=subject)) == 1

    async def is_empty(self, session: AsyncSession) -> bool:
        """Whether nobody has an account."""
        return await session.scalar(select(User.id).limit(1)) is None

    async def trigrammes(self, session: AsyncSession) -> set[str]:
        """Return those in use."""
        return set((await session.scalars(select(User.trigramme))).all())

    async def active(self, session: AsyncSession, user_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Return which of these are there and not suspended."""
        statement = select(User.id).where(User.id.in_(user_ids), User.is_active.is_(True))
        return set((await session.scalars(statement)).all())

    async def other_admins(self, session: AsyncSession, user_id: uuid.UUID) -> int:
        """Return how many active administrators there are besides a user."""
        statement = (
            select(func.count())
            .select_from(User)
            .join(Role, Role.id == User.role_id)
            .where(Role.name == ADMIN, User.is_active.is_(True), User.id != user_id)
        )
        return await session.scalar(statement) or 0


class Roles(Repository[Role]):
    """Roles."""

    def __init__(self) -> None:
        super().__init__(Role)

    def all(self) -> Select[Role]:
        """Return the statement for all of them, by name."""
        return select(Role).order_by(Role.name)

    async def by_name(self, session: AsyncSession, name: str) -> Role | None:
        """Return the role with this name."""
        return await self.one(session, select(Role).where(Role.name == name))

    async def lock_admin(self, session: AsyncSession) -> Role:
        """Return the administrators' role, and let others wait who ask for it in the same way until we are done.

        Who makes or unmakes administrators takes turns here, so that two at once do not leave none, or make two first.
        """
        return (await session.execute(select(Role).where(Role.name == ADMIN).with_for_update())).scalar_one()

    async def users_of(self, session: AsyncSession, role_id: uuid.UUID) -> int:
        """Return how many users have a role."""
        return await session.scalar(select(func.count()).select_from(User).where(User.role_id == role_id)) or 0


class Sessions(Repository[Session]):
    """Sessions and their refresh tokens."""

    def __init__(self) -> None:
        super().__init__(Session)

    def alive(self, now: datetime, user_id: uuid.UUID | None = None) -> Select[Session]:
        """Return the statement for live sessions, of one user or of all, the latest used first."""
        statement = select(Session).where(Session.revoked_at.is_(None), Session.expires_at > now)
        if user_id is not None:
            statement = statement.where(Session.user_id == user_id)
        return statement.order_by(Session.last_used_at.desc(), Session.id)

    async def with_user(self, session: AsyncSession, session_id: uuid.UUID) -> tuple[Session, User] | None:
        """Return a session and whose it is."""
        statement = select(Session, User).join(User, User.id == Session.user_id).where(Session.id == session_id)
        found = (await session.execute(statement)).unique().one_or_none()
        return None if found is None else (found[0], found[1])

    async def over(self, session: AsyncSession, session_ids: Collection[uuid.UUID]) -> set[str]:
        """Return which of these were ended, as texts."""
        statement = select(Session.id).where(Session.id.in_(session_ids), Session.revoked_at.is_not(None))
        return {str(session_id) for session_id in await session.scalars(statement)}

    async def end(self, session: AsyncSession, session_id: uuid.UUID, now: datetime) -> bool:
        """End a session; return whether it was alive."""
        statement = update(Session).where(Session.id == session_id, Session.revoked_at.is_(None))
        return await _changed(session, statement.values(revoked_at=now)) == 1

    async def end_all(self, session: AsyncSession, user_id: uuid.UUID, now: datetime) -> int:
        """End every session of a user; return how many were alive."""
        statement = update(Session).where(Session.user_id == user_id, Session.revoked_at.is_(None))
        return await _changed(session, statement.values(revoked_at=now))

    async def remove_expired(self, session: AsyncSession, now: datetime) -> None:
        """Remove sessions whose time is over, and their tokens with them."""
        await session.execute(delete(Session).where(Session.expires_at <= now))

    async def keep_token(self, session: AsyncSession, token: RefreshToken) -> None:
        """Add a refresh token."""
        session.add(token)
        await session.flush()

    async def token(self, session: AsyncSession, token_hash: str) -> RefreshToken | None:
        """Return the refresh token with this hash as it is now."""
        return await session.get(RefreshToken, token_hash, populate_existing=True)

    async def use_token(self, session: AsyncSession, token_hash: str, now: datetime) -> bool:
        """Mark a token used; return whether this was its first use. Of several at once, one is told so."""
        statement = update(RefreshToken).where(
            RefreshToken.token_hash == token_hash, RefreshToken.used_at.is_(None), RefreshToken.expires_at > now
        )
        return await _changed(session, statement.values(used_at=now)) == 1

    async def end_grace(self, session: AsyncSession, token_hash: str) -> bool:
        """Let a used token expire at its use; return whether it had not. Of several at once, one is told so.

        Nothing here depends on whose clock is right.
        """
        statement = update(RefreshToken).where(
            RefreshToken.token_hash == token_hash, RefreshToken.expires_at > RefreshToken.used_at
        )
        return await _changed(session, statement.values(expires_at=RefreshToken.used_at)) == 1


class BootstrapTokens:
    """The one-time right to make the first administrator."""

    async def keep(self, session: AsyncSession, token: BootstrapToken) -> None:
        """Add one."""
        session.add(token)
        await session.flush()

    async def any_valid(self, session: AsyncSession, now: datetime) -> bool:
        """Whether one is out that has not been used."""
        return await session.scalar(self._valid(now).limit(1)) is not None

    async def use(self, session: AsyncSession, token_hash: str, now: datetime) -> bool:
        """Use one up, and all others with it; return whether it was valid."""
        if await session.scalar(self._valid(now).where(BootstrapToken.token_hash == token_hash)) is None:
            return False
        await session.execute(update(BootstrapToken).where(BootstrapToken.used_at.is_(None)).values(used_at=now))
        return True

    @staticmethod
    def _valid(now: datetime) -> Select[str]:
        return select(BootstrapToken.token_hash).where(
            BootstrapToken.used_at.is_(None), BootstrapToken.expires_at > now
        )


async def _changed(session: AsyncSession, statement: Any) -> int:
    result = await session.execute(statement, execution_options={"synchronize_session": False})
    return result.rowcount if isinstance(result, CursorResult) else 0
