"""What administrators do with the accounts of others.

Nobody gains by it: who lacks a permission can neither give it away nor touch somebody who has it. One active
administrator always remains.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.core.errors import Conflict, InvalidRequest, NotFound, NotPermitted
from backend.features.accounts.models import ADMIN, Role, User
from backend.features.accounts.passwords import Passwords, check_password
from backend.features.accounts.repository import Roles, Users
from backend.features.accounts.service import AccountService, NewUser
from backend.features.accounts.sessions import SessionService
from backend.features.audit.service import AuditLog, Caller, Subject


@dataclass(frozen=True, slots=True)
class UserChange:
    """What changes about a user; None means that it stays."""

    name: str | None = None
    email: str | None = None
    role: str | None = None
    is_active: bool | None = None


_SUSPENSION = UserChange(is_active=False)
"""A change that only takes away."""


async def _nobody_listens() -> None:
    """Stand in for a listener."""


class UserAdministration:
    """Lists, makes, changes, suspends and removes users."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        accounts: AccountService,
        sessions: SessionService,
        passwords: Passwords,
    ) -> None:
        self._database = database
        self._audit = audit
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._users, self._roles = Users(), Roles()
        self._told: Callable[[], Awaitable[None]] = _nobody_listens

    def tell(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Let somebody know, before the caller is answered, whenever a user was suspended, reactivated or removed."""
        self._told = listener

    async def page(self, query: PageQuery) -> Page[User]:
        """List users."""
        async with self._database.reading() as reading:
            return await self._users.page(reading, self._users.all(), query)

    async def get(self, user_id: uuid.UUID) -> User:
        """Return a user."""
        return await self._accounts.get(user_id)

    async def create(self, caller: Caller, new: NewUser) -> User:
        """Make an account."""
        caller.principal.require_unbound()
        async with self._database.reading() as reading:
            check_covers(caller, await self._role(reading, new.role))  # before a hash is made for nothing
        check_password(new.password, new.email, new.name)
        hashed = await self._passwords.hash(new.password)
        return await self._accounts.create(caller, new, hashed, check=partial(check_covers, caller))

    async def update(self, caller: Caller, user_id: uuid.UUID, change: UserChange) -> User:
        """Change a user; suspending one, or giving another role, ends access tokens at once."""
        if change != _SUSPENSION:
            caller.principal.require_unbound()
        async with self._database.transaction() as transaction:
            user = await self._reachable(transaction, caller, user_id)
            fields = await self._apply(transaction, caller, user, change)
            if fields:
                subject = Subject("user", user.id, user.id)
                await self._audit.record(transaction, caller, _action(change), subject, {"fields": fields})
        self._sessions.known.forget_user(user_id)
        if "is_active" in fields:
            await self._told()
        return await self._accounts.get(user_id)

    async def reset_password(self, caller: Caller, user_id: uuid.UUID, password: str) -> None:
        """Give a user a new password; ends all their sessions."""
        caller.principal.require_unbound()
        async with self._database.reading() as reading:
            user = await self._reachable(reading, caller, user_id)  # before a hash is made for nothing
        check_password(password, user.email, user.name)
        hashed = await self._passwords.hash(password)
        await self._accounts.set_password(
            caller, user_id, hashed, "user.reset_password", lambda current: check_covers(caller, current.role)
        )

    async def end_session(self, caller: Caller, session_id: uuid.UUID) -> None:
        """Log somebody out on one device."""
        await self._sessions.end(caller, session_id, check=lambda user: check_covers(caller, user.role))

    async def remove(self, caller: Caller, user_id: uuid.UUID) -> None:
        """Remove a user and all that is theirs."""
        async with self._database.transaction() as transaction:
            user = await self._reachable(transaction, caller, user_id)
            await self._keep_an_admin(transaction, caller, user, "remove")
            await self._audit.record(transaction, caller, "user.delete", Subject("user", user.id, user.id))
            await self._users.remove(transaction, user)
        self._sessions.known.forget_user(user_id)
        await self._told()

    async def _apply(self, transaction: Transaction, caller: Caller, user: User, change: UserChange) -> list[str]:
        fields: list[str] = []
        if change.name is not None and change.name != user.name:
            user.name = change.name
            fields.append("name")
        if change.email is not None and change.email != user.email:
            other = await self._users.by_email(transaction, change.email)
            if other is not None:
                raise Conflict("there is an account with this email already")
            user.email = change.email
            fields.append("email")
        if change.role is not None and change.role != user.role.name:
            role = await self._role(transaction, change.role)
            check_covers(caller, role)
            demoting = caller if user.role.name == ADMIN else None
            await self._keep_an_admin(transaction, demoting, user, "take the administrator's role from")
            user.role = role
            user.token_version += 1
            fields.append("role")
        if change.is_active is not None and change.is_active != user.is_active:
            if not change.is_active:
                await self._keep_an_admin(transaction, caller, user, "suspend")
                await self._sessions.end_all(transaction, user.id)
            user.is_active = change.is_active
            user.token_version += 1
            fields.append("is_active")
        return fields

    async def _keep_an_admin(self, transaction: Transaction, caller: Caller | None, user: User, verb: str) -> None:
        if caller is not None and caller.principal.user_id == user.id:
            raise Conflict(f"you cannot {verb} yourself; ask another administrator")
        await self._roles.lock_admin(transaction)
        if user.role.name == ADMIN and await self._users.other_admins(transaction, user.id) == 0:
            raise Conflict(f"you cannot {verb} the last administrator; make another one first")

    async def _reachable(self, transaction: Transaction, caller: Caller, user_id: uuid.UUID) -> User:
        user = await self._users.locked(transaction, user_id)
        if user is None:
            raise NotFound("there is no such user")
        check_covers(caller, user.role)
        return user

    async def _role(self, transaction: Transaction, name: str) -> Role:
        role = await self._roles.by_name(transaction, name)
        if role is None:
            raise InvalidRequest(f"there is no role named {name!r}")
        return role


def check_covers(caller: Caller, role: Role) -> None:
    """Raise `NotPermitted` when a role may do what the caller may not."""
    lacking = sorted(set(role.permissions) - caller.principal.permissions)
    if lacking:
        raise NotPermitted(f"the role {role.name!r} has permissions you lack: {', '.join(lacking)}")


def _action(change: UserChange) -> str:
    if change.is_active is None:
        return "user.update"
    return "user.reactivate" if change.is_active else "user.suspend"
