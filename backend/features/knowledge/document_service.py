"""Documents for those who may read or change them: listing, showing, adding, replacing and removing."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from sqlalchemy import func, select

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.core.errors import NotFound
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Permission, Principal
from backend.features.knowledge.entities import Entity, entity_of
from backend.features.knowledge.models import Chunk, Document, DocumentVersion
from backend.features.knowledge.passages import make_live
from backend.features.knowledge.places import Place, Places
from backend.features.knowledge.ports import BlobStore
from backend.features.knowledge.repository import Documents, listed_documents
from backend.features.knowledge.states import Status

_URL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document as one caller may see it."""

    document: Document
    entity: Entity
    is_writable: bool


@dataclass(frozen=True, slots=True)
class Download:
    """A document's file: where to get it, or its bytes."""

    filename: str
    size: int
    url: str | None
    pieces: AsyncIterator[bytes]


class DocumentService:
    """Everything about documents but how they come in.

    Args:
        database: the store.
        blobs: where files lie.
        places: who may read and change what.
        audit: who did what.
        changed: told of every document that something else was decided of.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        places: Places,
        audit: AuditLog,
        changed: Callable[[Document], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._places = places
        self._audit = audit
        self._changed = changed
        self._documents = Documents()

    async def page(self, principal: Principal, entity: Entity, query: PageQuery) -> Page[DocumentView]:
        """Return a piece of the list of documents in a place, newest first."""
        async with self._database.reading() as session:
            place = await self._places.find(session, principal, entity)
            found = await self._documents.page(session, listed_documents(entity), query)
        return found.of(lambda document: DocumentView(document, entity, place.is_writable))

    async def get(self, principal: Principal, document_id: uuid.UUID) -> DocumentView:
        """Return a document the caller may read; raise `NotFound` for any other."""
        async with self._database.reading() as session:
            document, place = await self.readable(session, principal, document_id)
        return DocumentView(document, place.entity, place.is_writable)

    async def may_read(self, principal: Principal, document_id: uuid.UUID) -> bool:
        """Whether a caller may read a document now."""
        try:
            await self.get(principal, document_id)
        except NotFound:
            return False
        return True

    async def versions(self, principal: Principal, document_id: uuid.UUID, query: PageQuery) -> Page[DocumentVersion]:
        """Return a piece of the list of a document's files, newest first."""
        async with self._database.reading() as session:
            document, _ = await self.readable(session, principal, document_id)
            found = select(DocumentVersion).where(
                DocumentVersion.document_id == document_id, DocumentVersion.version <= document.version
            )
            total = await session.scalar(select(func.count()).select_from(found.subquery())) or 0
            rows = found.order_by(DocumentVersion.version.desc()).offset(query.skip).limit(query.limit)
            return Page(list(await session.scalars(rows)), total, query.skip, query.limit)

    async def chunks(self, principal: Principal, document_id: uuid.UUID, query: PageQuery) -> Page[Chunk]:
        """Return a piece of the list of passages that are searched, in their order."""
        async with self._database.reading() as session:
            await self.readable(session, principal, document_id)
            live = select(Chunk).where(Chunk.document_id == document_id, Chunk.is_live)
            rows = live.order_by(Chunk.ordinal).offset(query.skip).limit(query.limit)
            total = await self._documents.count_live(session, document_id)
            return Page(list(await session.scalars(rows)), total, query.skip, query.limit)

    async def content(self, principal: Principal, document_id: uuid.UUID) -> Download:
        """Return the file that is searched, or the newest while none is."""
        async with self._database.reading() as session:
            document, _ = await self.readable(session, principal, document_id)
            version = document.ready_version or document.version
            row = await session.get(DocumentVersion, (document_id, version))
        if row is None or document.status == Status.DELETING:
            raise NotFound("this file is not there any more")
        url = await self._blobs.download_url(row.blob_key, row.filename, _URL_SECONDS)
        return Download(row.filename, row.file_size, url, self._blobs.read(row.blob_key))

    async def delete(self, caller: Caller, document_id: uuid.UUID) -> DocumentView:
        """Have a document removed: it is not searched from now on, and all of it goes after that."""
        caller.principal.require(Permission.KNOWLEDGE)
        async with self._database.transaction() as session:
            document, place = await self.writable(session, caller.principal, document_id)
            if document.status != Status.DELETING:
                document.status, document.error, document.not_before = Status.DELETING, None, None
                document.attempts = document.progress = 0
                await make_live(session, document_id, None)
                await self.note(session, caller, "document.delete", document)
        self._changed(document)
        return DocumentView(document, place.entity, place.is_writable)

    async def readable(
        self, session: Transaction, principal: Principal, document_id: uuid.UUID
    ) -> tuple[Document, Place]:
        """Return a document the caller may read, and what it is in."""
        document = await self._documents.shown(session, document_id)
        return await self._placed(session, principal, document)

    async def writable(
        self, session: Transaction, principal: Principal, document_id: uuid.UUID
    ) -> tuple[Document, Place]:
        """Return a document the caller may change, locked, and what it is in."""
        document = await self._documents.lock(session, document_id)
        found, place = await self._placed(session, principal, document)
        place.require_writable()
        return found, place

    async def _placed(
        self, session: Transaction, principal: Principal, document: Document | None
    ) -> tuple[Document, Place]:
        entity = None if document is None else entity_of(document)
        if document is not None and entity is not None:
            try:
                return document, await self._places.find(session, principal, entity)
            except NotFound:
                pass
        raise NotFound("there is no such document")

    async def note(self, session: Transaction, caller: Caller, action: str, document: Document) -> None:
        """Write into the audit log what was done to a document."""
        told = {"filename": document.filename, "sha256": document.sha256, "version": document.version}
        subject = Subject("document", document.id, document.owner_id)
        await self._audit.record(session, caller, action, subject, told)
