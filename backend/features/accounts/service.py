"""What people do with their own account: make it, log in, change it; and how the first administrator comes to be."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backend.core.db.database import Database, Transaction
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, GatewayError, InvalidRequest, NotAuthenticated, NotFound, NotPermitted
from backend.core.logging import get_logger
from backend.features.accounts.attempts import Attempt, Attempts, TooManyAttempts
from backend.features.accounts.models import ADMIN, USER, BootstrapToken, Role, User
from backend.features.accounts.one_time import new_token, token_hash
from backend.features.accounts.passwords import Passwords, check_password
from backend.features.accounts.repository import BootstrapTokens, Roles, Users
from backend.features.accounts.sessions import Grant, SessionService, principal_for
from backend.features.accounts.trigramme import proposals
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import EVERYTHING, OPERATOR, USER_PERMISSIONS, Principal

_log = get_logger(__name__)

BOOTSTRAP_LIFETIME = timedelta(hours=24)
_BOOTSTRAP_PREFIX = "gw-bootstrap-"
_WRONG = "the email or the password is wrong"
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Stranger:
    """Who is at the door: an address, what the client calls itself, and in which request."""

    address: str
    device: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class NewUser:
    """What an account begins with."""

    email: str
    password: str
    name: str = ""
    trigramme: str | None = None
    role: str = USER


class AccountService:
    """Accounts, for the people they belong to.

    Args:
        database: keeps them.
        audit: is told what changed.
        sessions: begins sessions.
        passwords: makes and checks hashes.
        attempts: bounds how often somebody tries.
        is_open: whether anybody may register.
        now: the time, with its zone.
    """

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        sessions: SessionService,
        passwords: Passwords,
        attempts: Attempts,
        *,
        is_open: bool,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._audit = audit
        self._sessions = sessions
        self._passwords = passwords
        self._attempts = attempts
        self._is_open = is_open
        self._now = now
        self._users, self._roles, self._tokens = Users(), Roles(), BootstrapTokens()

    async def register(self, stranger: Stranger, new: NewUser) -> None:
        """Make an account where registration is open; says nothing about whether the address had one already."""
        if not self._is_open:
            raise NotPermitted("registration is closed; ask an administrator for an account")
        await self._attempts.admit(Attempt.REGISTER, stranger.address)
        check_password(new.password, new.email, new.name)
        hashed = await self._passwords.hash(new.password)
        async with self._database.reading() as reading:
            if new.trigramme is not None and new.trigramme in await self._users.trigrammes(reading):
                raise Conflict(f"the trigramme {new.trigramme!r} is taken; choose another one")
            if await self._users.by_email(reading, new.email) is not None:
                return
        await self.create(Caller(Principal(None), stranger.request_id), new, hashed)

    async def login(self, stranger: Stranger, email: str, password: str) -> Grant:
        """Begin a session; raise `NotAuthenticated` in the same way and time whatever is wrong."""
        pair = f"{stranger.address} {email}"
        try:
            await self._attempts.admit(Attempt.LOGIN_FROM_ADDRESS, stranger.address)
            # First those from here: a stranger uses up their own attempts, not everybody's, and so keeps nobody out.
            await self._attempts.admit(Attempt.LOGIN_TO_ACCOUNT_FROM_ADDRESS, pair)
            await self._attempts.admit(Attempt.LOGIN_TO_ACCOUNT, email)
        except TooManyAttempts as error:
            if error.is_first:  # once a window: a crowd at the door must not fill the log
                await self._note_limit(stranger, email)
            raise
        async with self._database.reading() as reading:
            user = await self._users.by_email(reading, email)
        verdict = await self._passwords.verify(password, None if user is None else user.password_hash)
        if user is None or not verdict.is_right or not user.is_active:
            raise NotAuthenticated(_WRONG)
        await self._attempts.forgive(Attempt.LOGIN_TO_ACCOUNT_FROM_ADDRESS, pair)
        await self._attempts.forgive(Attempt.LOGIN_TO_ACCOUNT, email)
        return await self.begin_session(stranger, user, verdict.new_hash)

    async def _note_limit(self, stranger: Stranger, email: str) -> None:
        """Write down that logins from an address are held back; an email that nobody has may be a secret."""
        caller, details = Caller(Principal(None), stranger.request_id), {"address": stranger.address}
        try:
            async with self._database.transaction() as transaction:
                user = await self._users.by_email(transaction, email)
                subject = Subject("address", stranger.address) if user is None else _subject(user)
                await self._audit.record(transaction, caller, "login.limit", subject, details)
        except GatewayError as error:  # such as an email that no store takes; the caller is to wait all the same
            _log.warning("login_limit_unwritten", reason=error.message)

    async def begin_session(self, stranger: Stranger, user: User, new_hash: str | None = None) -> Grant:
        """Begin a session of a user who has shown who they are."""
        async with self._database.transaction() as transaction:
            current = await self._users.locked(transaction, user.id)
            if current is None or not current.is_active or current.token_version != user.token_version:
                raise NotAuthenticated(_WRONG)  # suspended, or a new password, since we looked
            current.last_login_at = self._now()
            if new_hash is not None:
                current.password_hash = new_hash
            grant = await self._sessions.begin(transaction, current, stranger.device)
            owner = Caller(principal_for(current, None), stranger.request_id)
            await self._audit.record(transaction, owner, "session.begin", Subject("user", user.id, user.id))
        return grant

    async def get(self, user_id: uuid.UUID) -> User:
        """Return a user."""
        async with self._database.reading() as reading:
            user = await self._users.get(reading, user_id)
        if user is None:
            raise NotFound("there is no such user")
        return user

    async def rename(self, caller: Caller, user_id: uuid.UUID, name: str) -> User:
        """Change the name of one's own account."""
        async with self._database.transaction() as transaction:
            user = await self._existing(transaction, user_id)
            if user.name != name:
                user.name = name
                await self._audit.record(transaction, caller, "user.update", _subject(user), {"fields": ["name"]})
        return user

    async def change_password(self, caller: Caller, user_id: uuid.UUID, old: str, new: str) -> None:
        """Change the password of one's own account; ends every session of it, this one too."""
        user = await self.get(user_id)
        pair = f"logged-in {user.email}"
        await self._attempts.admit(Attempt.LOGIN_TO_ACCOUNT_FROM_ADDRESS, pair)
        if not (await self._passwords.verify(old, user.password_hash)).is_right:
            raise NotPermitted("the current password is wrong")
        check_password(new, user.email, user.name)
        await self._attempts.forgive(Attempt.LOGIN_TO_ACCOUNT_FROM_ADDRESS, pair)
        hashed = await self._passwords.hash(new)

        def check_unchanged(current: User) -> None:
            if current.token_version != user.token_version:
                raise NotPermitted("the current password is wrong")  # somebody set another one since we looked

        await self.set_password(caller, user_id, hashed, "user.change_password", check_unchanged)

    async def set_password(
        self, caller: Caller, user_id: uuid.UUID, hashed: str, action: str, check: Callable[[User], None]
    ) -> None:
        """Keep a new hash and end every session and access token of the account.

        `check` says in the same transaction whether the caller may do that to this user.
        """
        async with self._database.transaction() as transaction:
            user = await self._existing(transaction, user_id)
            check(user)
            user.password_hash = hashed
            user.token_version += 1
            await self._sessions.end_all(transaction, user_id)
            await self._audit.record(transaction, caller, action, _subject(user))
        self._sessions.known.forget_user(user_id)

    async def create(
        self,
        caller: Caller,
        new: NewUser,
        hashed: str | None,
        subject: str | None = None,
        check: Callable[[Role], None] = lambda _role: None,
    ) -> User:
        """Make an account with a password's hash, or tied to somebody at a login provider.

        `check` says in the same transaction whether the caller may give somebody this role.
        """
        for attempt in range(_TRIES):
            try:
                async with self._database.transaction() as transaction:
                    return await self._create(transaction, caller, new, hashed, subject, check)
            except Conflict:
                # Somebody may have taken the same trigramme at the same time; the next look finds another one.
                if new.trigramme is not None or attempt == _TRIES - 1:
                    raise
                async with self._database.reading() as reading:
                    if await self._users.by_email(reading, new.email) is not None:
                        raise
        raise AssertionError("unreachable")

    async def ensure_roles(self) -> None:
        """Make the built-in roles what this version says they are; safe when several processes start at once."""
        try:
            async with self._database.transaction() as transaction:
                await self._ensure_role(transaction, ADMIN, "May do everything.", EVERYTHING)
                await self._ensure_role(
                    transaction, USER, "Uses models; makes agents, collections and keys of their own.", USER_PERMISSIONS
                )
        except Conflict:
            await asyncio.sleep(0)  # another process has just made them

    async def anybody_is_known(self) -> bool:
        """Whether somebody has an account."""
        async with self._database.reading() as reading:
            return not await self._users.is_empty(reading)

    async def offer_bootstrap(self) -> str | None:
        """Return a one-time token for the first administrator when nobody has an account and none is out."""
        async with self._database.transaction() as transaction:
            await self._roles.lock_admin(transaction)
            now = self._now()
            if not await self._users.is_empty(transaction) or await self._tokens.any_valid(transaction, now):
                return None
            token = new_token(_BOOTSTRAP_PREFIX)
            row = BootstrapToken(token_hash=token_hash(token), created_at=now, expires_at=now + BOOTSTRAP_LIFETIME)
            await self._tokens.keep(transaction, row)
        return token

    async def bootstrap(self, stranger: Stranger, token: str, new: NewUser) -> User:
        """Make the first administrator for whoever shows the one-time token."""
        await self._attempts.admit(Attempt.BOOTSTRAP, stranger.address)
        check_password(new.password, new.email, new.name)
        async with self._database.reading() as reading:
            if not await self._tokens.any_valid(reading, self._now()):
                raise NotPermitted("there is no first administrator to be made any more")
        hashed = await self._passwords.hash(new.password)
        async with self._database.transaction() as transaction:
            await self._roles.lock_admin(transaction)
            if not await self._tokens.use(transaction, token_hash(token), self._now()):
                raise NotPermitted(
                    "this token does not work: it was used, it is older than a day, or it is another one"
                )
            if not await self._users.is_empty(transaction):
                raise NotPermitted("somebody has an account already; ask an administrator")
            caller = Caller(Principal("bootstrap"), stranger.request_id)
            new = replace(new, role=ADMIN)
            return await self._create(transaction, caller, new, hashed, None, lambda _role: None)

    async def create_admin(self, email: str, password: str) -> User:
        """Make an administrator on the word of whoever runs the command line."""
        check_password(password, email)
        return await self.create(
            Caller(OPERATOR), NewUser(email, password, role=ADMIN), await self._passwords.hash(password)
        )

    async def _create(
        self,
        transaction: Transaction,
        caller: Caller,
        new: NewUser,
        hashed: str | None,
        subject: str | None,
        check: Callable[[Role], None],
    ) -> User:
        role = await self._roles.by_name(transaction, new.role)
        if role is None:
            raise InvalidRequest(f"there is no role named {new.role!r}")
        check(role)
        if await self._users.by_email(transaction, new.email) is not None:
            raise Conflict("there is an account with this email already")
        user = User(
            email=new.email,
            name=new.name,
            trigramme=await self._free_trigramme(transaction, new),
            password_hash=hashed,
            oidc_subject=subject,
            role=role,
        )
        await self._users.add(transaction, user)
        details = {"role": role.name, "trigramme": user.trigramme}
        await self._audit.record(transaction, caller, "user.create", _subject(user), details)
        return user

    async def _free_trigramme(self, transaction: Transaction, new: NewUser) -> str:
        taken = await self._users.trigrammes(transaction)
        if new.trigramme is not None:
            if new.trigramme in taken:
                raise Conflict(f"the trigramme {new.trigramme!r} is taken; choose another one")
            return new.trigramme
        for proposal in proposals(new.name, new.email):
            if proposal not in taken:
                return proposal
        raise Conflict("every trigramme is taken")

    async def _existing(self, transaction: Transaction, user_id: uuid.UUID) -> User:
        user = await self._users.locked(transaction, user_id)
        if user is None:
            raise NotFound("there is no such user")
        return user

    async def _ensure_role(
        self, transaction: Transaction, name: str, description: str, permissions: frozenset[str]
    ) -> None:
        wanted = sorted(str(permission) for permission in permissions)
        role = await self._roles.by_name(transaction, name)
        if role is None:
            await self._roles.add(
                transaction, Role(name=name, description=description, permissions=wanted, is_built_in=True)
            )
        elif role.permissions != wanted:
            role.permissions = list(wanted)


def _subject(user: User) -> Subject:
    return Subject("user", user.id, user.id)
