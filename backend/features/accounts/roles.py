"""Roles: named sets of permissions. Those that come with the gateway stay as they are."""

import uuid
from dataclasses import dataclass

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.core.errors import Conflict, NotFound, NotPermitted
from backend.features.accounts.administration import check_covers
from backend.features.accounts.known_sessions import KnownSessions
from backend.features.accounts.models import Role
from backend.features.accounts.repository import Roles
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Permission


@dataclass(frozen=True, slots=True)
class RoleChange:
    """What a role becomes; None means that it stays."""

    name: str | None = None
    description: str | None = None
    permissions: frozenset[Permission] | None = None


class RoleAdministration:
    """Lists, makes, changes and removes roles."""

    def __init__(self, database: Database, audit: AuditLog, known: KnownSessions) -> None:
        self._database = database
        self._audit = audit
        self._known = known
        self._roles = Roles()

    async def page(self, query: PageQuery) -> Page[Role]:
        """List roles."""
        async with self._database.reading() as reading:
            return await self._roles.page(reading, self._roles.all(), query)

    async def get(self, role_id: uuid.UUID) -> Role:
        """Return a role."""
        async with self._database.reading() as reading:
            return await self._existing(reading, role_id)

    async def create(self, caller: Caller, name: str, description: str, permissions: frozenset[Permission]) -> Role:
        """Make a role."""
        caller.principal.require_unbound()
        _check_owned(caller, permissions)
        role = Role(name=name, description=description, permissions=sorted(permissions))
        async with self._database.transaction() as transaction:
            await self._check_free(transaction, name)
            await self._roles.add(transaction, role)
            details = {"name": name, "permissions": sorted(permissions)}
            await self._audit.record(transaction, caller, "role.create", Subject("role", role.id), details)
        return role

    async def update(self, caller: Caller, role_id: uuid.UUID, change: RoleChange) -> Role:
        """Change a role; those who have it may do what it says now from their next request on."""
        caller.principal.require_unbound()
        async with self._database.transaction() as transaction:
            role = await self._changeable(transaction, caller, role_id)
            details: dict[str, object] = {}
            if change.name is not None and change.name != role.name:
                await self._check_free(transaction, change.name)
                role.name = details["name"] = change.name
            if change.description is not None and change.description != role.description:
                role.description = details["description"] = change.description
            if change.permissions is not None and set(change.permissions) != set(role.permissions):
                _check_owned(caller, change.permissions)
                role.permissions = sorted(change.permissions)
                details["permissions"] = sorted(change.permissions)
            if details:
                await self._audit.record(transaction, caller, "role.update", Subject("role", role.id), details)
        self._known.forget_all()
        return await self.get(role_id)

    async def remove(self, caller: Caller, role_id: uuid.UUID) -> None:
        """Remove a role that nobody has."""
        async with self._database.transaction() as transaction:
            role = await self._changeable(transaction, caller, role_id)
            if await self._roles.users_of(transaction, role_id):
                raise Conflict("somebody has this role; give them another one first")
            await self._audit.record(transaction, caller, "role.delete", Subject("role", role.id), {"name": role.name})
            await self._roles.remove(transaction, role)

    async def _changeable(self, transaction: Transaction, caller: Caller, role_id: uuid.UUID) -> Role:
        role = await self._existing(transaction, role_id)
        if role.is_built_in:
            raise Conflict("this role comes with the gateway and stays as it is; make one of your own")
        check_covers(caller, role)
        return role

    async def _existing(self, transaction: Transaction, role_id: uuid.UUID) -> Role:
        role = await self._roles.get(transaction, role_id)
        if role is None:
            raise NotFound("there is no such role")
        return role

    async def _check_free(self, transaction: Transaction, name: str) -> None:
        if await self._roles.by_name(transaction, name) is not None:
            raise Conflict(f"there is a role named {name!r} already")


def _check_owned(caller: Caller, permissions: frozenset[Permission]) -> None:
    lacking = sorted(permissions - caller.principal.permissions)
    if lacking:
        raise NotPermitted(f"you cannot give permissions you lack: {', '.join(lacking)}")
