"""How documents come in: nothing is acknowledged before file and row would survive a loss of power.

The row comes first, unseen, so that no file is ever without one; then the file; then the row is shown and the document
waits for its turn.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from sqlalchemy import delete, update

from backend.core.db.database import Database, Transaction
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, GatewayError, NotFound, RateLimited, StoreUnavailable
from backend.features.audit.service import Caller
from backend.features.auth.principal import Permission
from backend.features.knowledge.document_service import DocumentService, DocumentView
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.models import Document, DocumentVersion
from backend.features.knowledge.places import Place, Places
from backend.features.knowledge.ports import BlobStore
from backend.features.knowledge.repository import Documents
from backend.features.knowledge.states import Stage, Status, file_key
from backend.features.knowledge.uploads import ReceivedFile

_RETRY_AFTER = 30.0
_FIRST = 1


@dataclass(frozen=True, slots=True)
class Added:
    """A document, and whether its file was new."""

    view: DocumentView
    is_new: bool


class Intake:
    """Takes files that were received.

    Args:
        database: the store.
        blobs: where files go.
        places: who may add to what.
        documents: finds and notes them.
        queued: documents of one owner that may be under way.
        changed: told of every document that has work to do.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        places: Places,
        documents: DocumentService,
        *,
        queued: int,
        changed: Callable[[Document], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._places = places
        self._service = documents
        self._queued = queued
        self._changed = changed
        self._documents = Documents()

    async def add(self, caller: Caller, entity: Entity, file: ReceivedFile) -> Added:
        """Add a document to a place; one with the same bytes there is returned as it is."""
        caller.principal.require(Permission.KNOWLEDGE)
        document_id = uuid.uuid4()
        async with self._database.transaction() as session:
            place = await self._open_place(session, caller, entity)
            await self._documents.lock_owner(session, place.owner_id)
            same = await self._documents.same(session, place.owner_id, entity, file.sha256)
            if same is not None:
                return Added(DocumentView(same, entity, place.is_writable), is_new=False)
            session.add(_row(document_id, place, file))
            await session.flush()
            session.add(_version_row(document_id, _FIRST, file))
        await self._blobs.put(file_key(document_id, _FIRST), file.path)
        async with self._dropped_if_refused(document_id, _FIRST), self._database.transaction() as session:
            added = await self._show(session, caller, entity, document_id, file)
        if added.is_new:
            self._changed(added.view.document)  # before anything else becomes of it
        await self._settle(document_id)
        if not added.is_new:
            await self._drop(document_id)
        return added

    async def replace(self, caller: Caller, document_id: uuid.UUID, file: ReceivedFile) -> Added:
        """Give a document a new file; the old one is searched until the new one is ready."""
        caller.principal.require(Permission.KNOWLEDGE)
        async with self._database.transaction() as session:
            document, place = await self._replaceable(session, caller, document_id)
            if document.sha256 == file.sha256:
                return Added(DocumentView(document, place.entity, place.is_writable), is_new=False)
            version = await self._documents.last_version(session, document_id) + 1
            session.add(_version_row(document_id, version, file))
        await self._blobs.put(file_key(document_id, version), file.path)
        async with self._dropped_if_refused(document_id, version), self._database.transaction() as session:
            document, place = await self._replaceable(session, caller, document_id)
            if document.version > version:
                raise Conflict("a newer file of this document came meanwhile; look at it before you send another")
            _describe(document, file)
            document.version = version
            _queue(document)
            await self._service.note(session, caller, "document.replace", document)
        self._changed(document)
        await self._settle(document_id)
        return Added(DocumentView(document, place.entity, place.is_writable), is_new=True)

    async def _replaceable(
        self, session: Transaction, caller: Caller, document_id: uuid.UUID
    ) -> tuple[Document, Place]:
        document, place = await self._service.writable(session, caller.principal, document_id)
        if document.status == Status.DELETING:
            raise NotFound("there is no such document")
        await self._require_room(session, place.owner_id)
        return document, place

    async def _open_place(self, session: Transaction, caller: Caller, entity: Entity) -> Place:
        place = await self._places.find(session, caller.principal, entity)
        place.require_writable()
        await self._require_room(session, place.owner_id)
        return place

    async def _require_room(self, session: Transaction, owner_id: uuid.UUID) -> None:
        if await self._documents.waiting(session, owner_id) >= self._queued:
            raise RateLimited(
                f"{self._queued} documents are waiting already; send more once some are read", retry_after=_RETRY_AFTER
            )

    async def _show(
        self, session: Transaction, caller: Caller, entity: Entity, document_id: uuid.UUID, file: ReceivedFile
    ) -> Added:
        """Let a document wait for its turn, unless one with the same bytes came first: then it stays unseen."""
        place = await self._places.find(session, caller.principal, entity)
        place.require_writable()
        await self._documents.lock_owner(session, place.owner_id)
        document = await self._documents.get(session, document_id)
        same = await self._documents.same(session, place.owner_id, entity, file.sha256)
        if document is None or document.status != Status.UPLOADING:
            raise NotFound("what this document was to be added to is gone")
        if same is not None:
            return Added(DocumentView(same, entity, place.is_writable), is_new=False)
        _queue(document)
        await self._service.note(session, caller, "document.create", document)
        return Added(DocumentView(document, entity, place.is_writable), is_new=True)

    @contextlib.asynccontextmanager
    async def _dropped_if_refused(self, document_id: uuid.UUID, version: int) -> AsyncIterator[None]:
        """Remove a file that is not acknowledged in the end: whoever removes its document may have been there before.

        While the store does not answer nobody knows, and the file stays.
        """
        try:
            yield
        except StoreUnavailable:
            raise
        except GatewayError:
            with contextlib.suppress(GatewayError):
                await self._blobs.delete(file_key(document_id, version))
            raise

    async def _drop(self, document_id: uuid.UUID) -> None:
        """Remove a document that nobody has seen, its row last; what fails is left to the sweep of unfinished ones."""
        with contextlib.suppress(GatewayError):
            await self._blobs.delete(file_key(document_id, _FIRST))
            unseen = delete(Document).where(Document.id == document_id, Document.status == Status.UPLOADING)
            async with self._database.transaction() as session:
                await session.execute(unseen.execution_options(synchronize_session=False))

    async def _settle(self, document_id: uuid.UUID) -> None:
        """Wait until what was committed is on the disk: a durable write comes after all that were before it."""
        touch = update(Document).where(Document.id == document_id).values(updated_at=utc_now())
        await self._database.in_one(lambda connection: connection.execute(touch).close())


def _row(document_id: uuid.UUID, place: Place, file: ReceivedFile) -> Document:
    entity = place.entity
    document = Document(id=document_id, owner_id=place.owner_id, version=_FIRST, status=Status.UPLOADING)
    _describe(document, file)
    document.collection_id = entity.id if entity.kind == EntityKind.COLLECTION else None
    document.agent_id = entity.id if entity.kind == EntityKind.AGENT else None
    document.chat_id = entity.id if entity.kind == EntityKind.CHAT else None
    return document


def _version_row(document_id: uuid.UUID, version: int, file: ReceivedFile) -> DocumentVersion:
    return DocumentVersion(
        document_id=document_id,
        version=version,
        filename=file.filename,
        mime_type=file.mime_type,
        file_size=file.size,
        sha256=file.sha256,
        blob_key=file_key(document_id, version),
    )


def _describe(document: Document, file: ReceivedFile) -> None:
    document.filename, document.mime_type = file.filename, file.mime_type
    document.file_size, document.sha256 = file.size, file.sha256


def _queue(document: Document) -> None:
    """Let a document's newest file be read from the beginning."""
    document.status, document.stage = Status.QUEUED, Stage.UPLOADED
    document.progress = document.attempts = 0
    document.error = document.not_before = None
    document.updated_at = utc_now()
