"""Documents of an agent or a chat as a whole, put together again from their passages."""

import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, or_, select

from backend.core.db.database import Transaction
from backend.features.auth.principal import Principal
from backend.features.knowledge.assembly import WholeDocument
from backend.features.knowledge.hits import join_text
from backend.features.knowledge.models import Chunk, Document
from backend.features.knowledge.scopes import Scope, permits


async def attached_characters(session: Transaction, principal: Principal, scope: Scope) -> int:
    """Return how long all documents are together that are attached in a scope, what passages share counted twice."""
    total = await session.scalar(
        select(func.sum(func.length(Chunk.text)))
        .join(Document, Document.id == Chunk.document_id)
        .where(Chunk.is_live, *_attached(principal, scope))
    )
    return int(total or 0)


async def read_attached(session: Transaction, principal: Principal, scope: Scope) -> list[WholeDocument]:
    """Return all documents that are attached in a scope, always in the same order."""
    rows = await session.execute(
        select(Document.id, Document.filename, Chunk.text, Chunk.start)
        .join(Chunk, Chunk.document_id == Document.id)
        .where(Chunk.is_live, Chunk.version == Document.ready_version, *_attached(principal, scope))
        .order_by(Document.created_at, Document.id, Chunk.ordinal)
    )
    documents: dict[uuid.UUID, tuple[str, str, int]] = {}
    for document_id, filename, text, start in rows:
        if (known := documents.get(document_id)) is None:
            documents[document_id] = (filename, text, start)
        else:
            documents[document_id] = (filename, join_text(known[1], known[2], text, start), known[2])
    return [WholeDocument(str(key), filename, text) for key, (filename, text, _) in documents.items()]


def _attached(principal: Principal, scope: Scope) -> Sequence[ColumnElement[bool]]:
    own = Scope(agent_id=scope.agent_id, chat_id=scope.chat_id)
    return (
        permits(principal, own),
        or_(Document.agent_id.is_not(None), Document.chat_id.is_not(None)),
        Document.status != "deleting",
    )
