"""Sessions: logging in on a device begins one, its refresh tokens keep it going, and they can be ended.

A refresh token works once and is answered with its successor. Shown again it was copied, so the whole session ends;
only within a few seconds, once, from the same device and while the successor is unused is it taken for a reply that got
lost, and the same successor is given again. Thirty days after logging in, or after seven without use, it is over.
"""

import contextlib
import hmac
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import NotAuthenticated, NotFound
from backend.features.accounts.access_tokens import LIFETIME_SECONDS, AccessTokens
from backend.features.accounts.known_sessions import KnownSession, KnownSessions
from backend.features.accounts.models import RefreshToken, Session, User
from backend.features.accounts.one_time import new_token, next_token, token_hash
from backend.features.accounts.repository import Sessions, Users
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Permission, Principal
from backend.features.auth.running import RunningCalls

ABSOLUTE, IDLE, GRACE = timedelta(days=30), timedelta(days=7), timedelta(seconds=10)
_PREFIX = "gw-refresh-"
_OVER = "this session is over; log in again"
_DEVICE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody who has logged in is given."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 (the name of a scheme)
    expires_in: int = LIFETIME_SECONDS


class SessionService:
    """Begins, continues, lists and ends sessions.

    Args:
        database: keeps them.
        audit: is told when one ends out of turn.
        key: signs access tokens; successors of refresh tokens are made with a key of their own that comes from it.
        running: the answers that end with a session or an account.
        now: the time, with its zone.
    """

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        key: bytes,
        running: RunningCalls,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.known = KnownSessions(self._load)
        self.known.tell(running.look)
        running.ask(self._ended)
        self.access_tokens = AccessTokens(key, self.known, lambda: now().timestamp())
        self._database = database
        self._audit = audit
        self._key = hmac.digest(key, b"successors of refresh tokens", "sha256")
        self._now = now
        self._users, self._sessions = Users(), Sessions()

    async def begin(self, transaction: Transaction, user: User, device: str) -> Grant:
        """Return tokens for a new session of a user; part of the caller's transaction."""
        now = self._now()
        await self._sessions.remove_expired(transaction, now)
        row = Session(
            user_id=user.id, device=_harmless(device), created_at=now, last_used_at=now, expires_at=now + ABSOLUTE
        )
        await self._sessions.add(transaction, row)
        token = new_token(_PREFIX)
        await self._keep(transaction, token, row, now)
        return self._grant(user, row, token)

    async def refresh(self, token: str, device: str, request_id: str) -> Grant:
        """Return new tokens for a refresh token; raise `NotAuthenticated` when it does not work any more."""
        async with self._database.transaction() as transaction:
            kept = await self._sessions.token(transaction, token_hash(token))
            found = None if kept is None else await self._sessions.with_user(transaction, kept.session_id)
            if kept is None or found is None:
                raise NotAuthenticated("this refresh token is not known; log in again")
            session, user = found
            now = self._now()
            if session.revoked_at is not None or session.expires_at <= now or not user.is_active:
                raise NotAuthenticated(_OVER)
            if await self._sessions.use_token(transaction, kept.token_hash, now):
                successor = next_token(_PREFIX, token, self._key)
                session.last_used_at = now
                await self._keep(transaction, successor, session, now)
                return self._grant(user, session, successor)
            again = await self._give_again(transaction, token, session, device)
            if again is not None:
                return self._grant(user, session, again)
            await self._end_copied(transaction, session, request_id)
        self.known.forget(session.id)
        raise NotAuthenticated(_OVER)

    async def end(
        self,
        caller: Caller,
        session_id: uuid.UUID,
        owner_id: uuid.UUID | None = None,
        check: Callable[[User], None] = lambda _user: None,
    ) -> None:
        """End a session, at once in this process; one that is not there or not the owner's is `NotFound`.

        `check` says in the same transaction whether the caller may do that to this user.
        """
        async with self._database.transaction() as transaction:
            found = await self._sessions.with_user(transaction, session_id)
            if found is None or (owner_id is not None and found[1].id != owner_id):
                raise NotFound("there is no such session")
            row, user = found
            check(user)
            if await self._sessions.end(transaction, session_id, self._now()):
                subject = Subject("session", session_id, row.user_id)
                await self._audit.record(transaction, caller, "session.end", subject)
        self.known.forget(session_id)

    async def end_all(self, transaction: Transaction, user_id: uuid.UUID) -> None:
        """End every session of a user; the caller calls `known.forget_user` after the transaction."""
        await self._sessions.end_all(transaction, user_id, self._now())

    async def page(self, query: PageQuery, user_id: uuid.UUID | None = None) -> Page[Session]:
        """List live sessions, of one user or of all."""
        async with self._database.reading() as reading:
            return await self._sessions.page(reading, self._sessions.alive(self._now(), user_id), query)

    async def _keep(self, transaction: Transaction, token: str, session: Session, now: datetime) -> None:
        until = min(now + IDLE, session.expires_at)
        row = RefreshToken(token_hash=token_hash(token), session_id=session.id, created_at=now, expires_at=until)
        await self._sessions.keep_token(transaction, row)

    async def _give_again(self, transaction: Transaction, token: str, session: Session, device: str) -> str | None:
        """Return the successor of a used token when its reply may have been lost."""
        kept = await self._sessions.token(transaction, token_hash(token))
        now = self._now()
        if kept is None or kept.used_at is None:
            raise NotAuthenticated(_OVER)  # never used, but too old
        if now - kept.used_at > GRACE or session.device != _harmless(device):
            return None
        successor = next_token(_PREFIX, token, self._key)
        next_kept = await self._sessions.token(transaction, token_hash(successor))
        if next_kept is None or next_kept.used_at is not None:
            return None
        return successor if await self._sessions.end_grace(transaction, kept.token_hash) else None

    async def _end_copied(self, transaction: Transaction, session: Session, request_id: str) -> None:
        if await self._sessions.end(transaction, session.id, self._now()):
            owner = Caller(Principal(None, user_id=session.user_id), request_id)
            subject = Subject("session", session.id, session.user_id)
            await self._audit.record(transaction, owner, "session.token_reused", subject)

    def _grant(self, user: User, session: Session, refresh_token: str) -> Grant:
        return Grant(self.access_tokens.issue(user.id, session.id, user.token_version), refresh_token)

    async def _ended(self, callers: frozenset[Principal]) -> set[Principal]:
        """Return which callers lost their account, were suspended, or use a session that is over."""
        users = {caller.user_id for caller in callers if caller.user_id is not None}
        async with self._database.reading() as reading:
            active = await self._users.active(reading, users)
            over = await self._sessions.over(reading, _ids(caller.key_id for caller in callers))
        return {caller for caller in callers if caller.user_id not in active or caller.key_id in over}

    async def _load(self, session_id: uuid.UUID) -> KnownSession | None:
        async with self._database.reading() as reading:
            found = await self._sessions.with_user(reading, session_id)
        if found is None:
            return None
        session, user = found
        if session.revoked_at is not None or session.expires_at <= self._now() or not user.is_active:
            return None
        return KnownSession(principal_for(user, str(session.id)), user.token_version)


def principal_for(user: User, key_id: str | None) -> Principal:
    """Return who a user is to the rest of the gateway; permissions we do not know any more are left out."""
    known = {permission.value for permission in Permission}
    return Principal(
        key_id,
        frozenset(Permission(name) for name in user.role.permissions if name in known),
        user_id=user.id,
        trigramme=user.trigramme,
        role_id=user.role_id,
    )


def _ids(texts: Iterable[str | None]) -> set[uuid.UUID]:
    """Return those that are ids: callers are known by other things than sessions, too."""
    found = set()
    for text in texts:
        with contextlib.suppress(ValueError):
            found.add(uuid.UUID(text or ""))
    return found


def _harmless(device: str) -> str:
    return "".join(letter for letter in device if letter.isprintable())[:_DEVICE_LENGTH]
