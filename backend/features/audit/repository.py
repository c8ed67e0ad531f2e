"""The queries of the audit log."""

import contextlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, Uuid, column, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.repository import Repository
from backend.features.audit.models import AuditEntry

_users = table("users", column("id", Uuid()), column("email"))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None means any."""

    actor: str | None = None
    """As an entry has it, or the email of an account."""
    action: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    owner_id: uuid.UUID | None = None


class AuditEntries(Repository[AuditEntry]):
    """Adds entries and finds them; there is nothing to change or remove them with."""

    def __init__(self) -> None:
        super().__init__(AuditEntry)

    async def actor(self, session: AsyncSession, wanted: AuditFilter) -> str | None:
        """Return the actor that is wanted, an email spelled out as the id of its account."""
        if wanted.actor is None or "@" not in wanted.actor:
            return wanted.actor
        found = await session.scalar(select(_users.c.id).where(_users.c.email == wanted.actor.strip().lower()))
        return wanted.actor if found is None else str(found)

    async def emails(self, session: AsyncSession, actors: Iterable[str]) -> Mapping[str, str]:
        """Return the emails of those actors that have an account."""
        ids = set[uuid.UUID]()
        for actor in actors:
            with contextlib.suppress(ValueError):
                ids.add(uuid.UUID(actor))
        found = await session.execute(select(_users.c.id, _users.c.email).where(_users.c.id.in_(ids)))
        return {str(user_id): email for user_id, email in found}

    def matching(self, wanted: AuditFilter, actor: str | None) -> Select[AuditEntry]:
        """Return the statement for the entries that match, newest first."""
        statement = select(AuditEntry).order_by(AuditEntry.at.desc(), AuditEntry.id)
        if actor is not None:
            statement = statement.where(AuditEntry.actor == actor)
        if wanted.action is not None:
            statement = statement.where(AuditEntry.action == wanted.action)
        if wanted.object_id is not None:
            statement = statement.where(AuditEntry.object_id == wanted.object_id)
        if wanted.since is not None:
            statement = statement.where(AuditEntry.at >= wanted.since)
        if wanted.owner_id is not None:
            statement = statement.where(AuditEntry.owner_id == wanted.owner_id)
        return statement
