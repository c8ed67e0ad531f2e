"""Everybody's documents, for those who look after ingestion."""

import uuid
from collections.abc import Callable

from backend.core.db.database import Database
from backend.core.db.pages import Page, PageQuery
from backend.core.errors import Conflict, NotFound
from backend.features.audit.service import Caller
from backend.features.knowledge.document_service import DocumentService
from backend.features.knowledge.models import Document
from backend.features.knowledge.repository import Documents, listed_documents
from backend.features.knowledge.states import Status


class DocumentAdministration:
    """Lists documents by status; tries again, or no longer."""

    def __init__(self, database: Database, documents: DocumentService, changed: Callable[[Document], None]) -> None:
        self._database = database
        self._service = documents
        self._changed = changed
        self._documents = Documents()

    async def page(self, status: Status | None, query: PageQuery) -> Page[Document]:
        """Return a piece of the list of all documents, newest first."""
        async with self._database.reading() as session:
            return await self._documents.page(session, listed_documents(None, status), query)

    async def start(self, caller: Caller, document_id: uuid.UUID) -> Document:
        """Work on a document now that waits for its turn, or for its next attempt."""
        return await self._change(caller, document_id, (Status.QUEUED,), Status.QUEUED, "start")

    async def retry(self, caller: Caller, document_id: uuid.UUID) -> Document:
        """Go on with a document from the last stage that is done."""
        return await self._change(caller, document_id, (Status.FAILED, Status.CANCELLED), Status.QUEUED, "retry")

    async def cancel(self, caller: Caller, document_id: uuid.UUID) -> Document:
        """Leave a document as it is; what is searched stays so."""
        return await self._change(caller, document_id, (Status.QUEUED, Status.RUNNING), Status.CANCELLED, "cancel")

    async def _change(
        self, caller: Caller, document_id: uuid.UUID, possible: tuple[Status, ...], wanted: Status, verb: str
    ) -> Document:
        async with self._database.transaction() as session:
            document = await self._documents.lock(session, document_id)
            if document is None:
                raise NotFound("there is no such document")
            if document.status not in possible:
                raise Conflict(f"this document is {document.status}; only {' and '.join(possible)} ones are for this")
            document.status, document.error, document.not_before, document.attempts = wanted, None, None, 0
            await self._service.note(session, caller, f"document.{verb}", document)
        self._changed(document)
        return document
