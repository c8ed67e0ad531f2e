"""Who works on which document: claims with a lease, and what is written under one.

A claim is taken in the store, so any number of processes may share the work. Everything that work leaves behind is
written in a transaction that asks first whether the claim still holds.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import CursorResult, Select, and_, column, exists, or_, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.database import Database
from backend.core.db.tables import utc_now
from backend.features.knowledge.models import Document
from backend.features.knowledge.states import UNDER_WAY, Stage, State, Status, state_of

MAX_ATTEMPTS = 4
"""Of one stage: the first and three more."""
_INTERRUPTED = "reading this document was interrupted too often; split it, or ask an administrator to try again"
_UPLOAD_HOURS = 6
"""After which an upload that nobody finished counts as given up."""
_chats = table("chats", column("id", Document.id.type))


class ClaimLost(Exception):
    """Somebody else decides about the document now: it is deleted, replaced, cancelled, or taken over."""


@dataclass(frozen=True, slots=True)
class Job:
    """A document somebody works on."""

    document_id: uuid.UUID
    version: int
    filename: str
    status: str
    """running or deleting."""
    stage: Stage
    attempts: int
    claim: uuid.UUID
    collection_id: uuid.UUID | None = None
    chat_id: uuid.UUID | None = None
    """The collection or the chat it is in, if it is in one."""


class Jobs:
    """Claims documents and writes what becomes of them."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self.database = database
        self.lease_seconds = lease_seconds

    async def claim(self, only: frozenset[uuid.UUID] | None = None) -> Job | None:
        """Take the oldest document that is due, or None; `only` names those that count."""
        async with self.database.reading() as session:
            if await session.scalar(_due(only).with_only_columns(Document.id)) is None:
                return None
        async with self.database.transaction() as session:
            document = await session.scalar(_due(only).with_for_update(skip_locked=True))
            return None if document is None else self._take(document)

    def _take(self, document: Document) -> Job | None:
        if document.attempts >= MAX_ATTEMPTS and document.status != Status.DELETING:
            document.status, document.error = Status.FAILED, document.error or _INTERRUPTED
            document.leased_by = document.leased_until = None
            return None
        if document.status == Status.QUEUED:
            document.status = Status.RUNNING
        document.attempts += 1
        claim = uuid.uuid4()
        document.leased_by, document.leased_until = claim, utc_now() + timedelta(seconds=self.lease_seconds)
        return Job(
            *(document.id, document.version, document.filename, document.status, Stage(document.stage)),
            *(document.attempts, claim, document.collection_id, document.chat_id),
        )

    async def hold(self, session: AsyncSession, job: Job, **values: Any) -> None:
        """Renew a claim and write `values` into the document; raise `ClaimLost` when it is not ours any more."""
        until = utc_now() + timedelta(seconds=self.lease_seconds)
        if await _write(session, _ours(job), {"leased_until": until, **values}) != 1:
            raise ClaimLost

    async def advance(self, job: Job, **values: Any) -> None:
        """Renew a claim in a transaction of its own."""
        async with self.database.transaction() as session:
            await self.hold(session, job, **values)

    async def finish(self, session: AsyncSession, job: Job, **values: Any) -> None:
        """Give a claim back together with `values`; raise `ClaimLost` when it is not ours any more."""
        given_back = {"leased_until": None, "leased_by": None, **values}
        if await _write(session, _ours(job), given_back) != 1:
            raise ClaimLost

    async def attempts(self, session: AsyncSession, job: Job) -> int:
        """Return how often the stage at hand was begun."""
        return await session.scalar(select(Document.attempts).where(Document.id == job.document_id)) or 0

    async def let_go(self, job: Job, *, is_counted: bool) -> None:
        """Give a claim back whatever was decided about the document meanwhile.

        Args:
            job: what was claimed.
            is_counted: whether it counts as an attempt.
        """
        values: dict[str, Any] = {"leased_until": None, "leased_by": None}
        if not is_counted:
            values["attempts"] = max(job.attempts - 1, 0)
        async with self.database.transaction() as session:
            mine = and_(Document.id == job.document_id, Document.leased_by == job.claim)
            await _write(session, mine, values)

    async def state(self, document_id: uuid.UUID) -> State | None:
        """Return a document's state; None when it is gone."""
        async with self.database.reading() as session:
            document = await session.get(Document, document_id)
            return None if document is None else state_of(document)

    async def sweep(self) -> None:
        """Let documents go whose owner, collection, agent or chat is gone, and uploads that were never finished."""
        homeless = or_(
            Document.owner_id.is_(None),
            and_(Document.chat_id.is_not(None), ~exists().where(_chats.c.id == Document.chat_id)),
            and_(Document.collection_id.is_(None), Document.agent_id.is_(None), Document.chat_id.is_(None)),
        )
        old = utc_now() - timedelta(hours=_UPLOAD_HOURS)
        given_up = and_(Document.status == Status.UPLOADING, Document.updated_at < old)
        due = and_(Document.status != Status.DELETING, or_(homeless, given_up))
        async with self.database.reading() as session:
            if await session.scalar(select(Document.id).where(due).limit(1)) is None:
                return
        async with self.database.transaction() as session:
            await _write(session, due, {"status": Status.DELETING, "attempts": 0, "not_before": None})


def _due(only: frozenset[uuid.UUID] | None) -> Select[Any]:
    now = utc_now()
    statement = select(Document).where(
        Document.status.in_(UNDER_WAY),
        or_(Document.leased_until.is_(None), Document.leased_until < now),
        or_(Document.not_before.is_(None), Document.not_before <= now),
    )
    if only is not None:
        statement = statement.where(Document.id.in_(only))
    return statement.order_by(Document.created_at, Document.id).limit(1)


def _ours(job: Job) -> Any:
    return and_(
        Document.id == job.document_id,
        Document.leased_by == job.claim,
        Document.version == job.version,
        Document.status == job.status,
    )


async def _write(session: AsyncSession, where: Any, values: dict[str, Any]) -> int:
    statement = update(Document).where(where).values(**values).execution_options(synchronize_session=False)
    result = await session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 (for the type checker)
    return result.rowcount
