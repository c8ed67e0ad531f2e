"""The queries of the audit log."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select

from backend.core.db.repository import Repository
from backend.features.audit.models import AuditEntry


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None means any."""

    actor: str | None = None
    action: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    owner_id: uuid.UUID | None = None


class AuditEntries(Repository[AuditEntry]):
    """Adds entries and finds them; there is nothing to change or remove them with."""

    def __init__(self) -> None:
        super().__init__(AuditEntry)

    def matching(self, wanted: AuditFilter) -> Select[AuditEntry]:
        """Return the statement for the entries that match, newest first."""
        statement = select(AuditEntry).order_by(AuditEntry.at.desc(), AuditEntry.id)
        if wanted.actor is not None:
            statement = statement.where(AuditEntry.actor == wanted.actor)
        if wanted.action is not None:
            statement = statement.where(AuditEntry.action == wanted.action)
        if wanted.object_id is not None:
            statement = statement.where(AuditEntry.object_id == wanted.object_id)
        if wanted.since is not None:
            statement = statement.where(AuditEntry.at >= wanted.since)
        if wanted.owner_id is not None:
            statement = statement.where(AuditEntry.owner_id == wanted.owner_id)
        return statement
