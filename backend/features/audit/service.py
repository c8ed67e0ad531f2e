"""Writes down who did what, in the transaction of what they did, so that neither is there without the other."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.features.audit.models import AuditEntry
from backend.features.audit.repository import AuditEntries, AuditFilter
from backend.features.auth.principal import Principal


@dataclass(frozen=True, slots=True)
class Caller:
    """Who does something, and in which request."""

    principal: Principal
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What something is done to."""

    type: str
    id: uuid.UUID | str
    owner_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class AuditView:
    """An entry with the email of who did it; None for one without an account, or whose account is gone."""

    entry: AuditEntry
    actor_email: str | None


class AuditLog:
    """The audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries = AuditEntries()

    async def record(
        self,
        session: Transaction,
        caller: Caller,
        action: str,
        subject: Subject,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an entry to a transaction.

        Args:
            session: the transaction in which the thing itself is done.
            caller: who does it.
            action: what, as `<object>.<verb>`.
            subject: to what.
            details: names of changed fields and harmless values; never a secret, a prompt or a password.
        """
        entry = AuditEntry(
            actor=caller.principal.actor,
            action=action,
            object_type=subject.type,
            object_id=str(subject.id),
            owner_id=subject.owner_id,
            request_id=caller.request_id,
            details=dict(details or {}),
        )
        await self._entries.add(session, entry)

    async def page(self, wanted: AuditFilter, query: PageQuery) -> Page[AuditView]:
        """Return a piece of the log, newest first."""
        async with self._database.reading() as session:
            actor = await self._entries.actor(session, wanted)
            found = await self._entries.page(session, self._entries.matching(wanted, actor), query)
            emails = await self._entries.emails(session, {entry.actor for entry in found.items})
        return found.of(lambda entry: AuditView(entry, emails.get(entry.actor)))
