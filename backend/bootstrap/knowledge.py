"""Opens knowledge: where files lie, who reads them, who works on them."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from backend.bootstrap.blobs import open_blobs
from backend.bootstrap.recognition import build_reading
from backend.core.config import Settings
from backend.core.db.database import Database
from backend.core.errors import ConfigurationError
from backend.features.audit.service import AuditLog
from backend.features.knowledge.administration import DocumentAdministration
from backend.features.knowledge.collection_service import CollectionService
from backend.features.knowledge.deps import Knowledge
from backend.features.knowledge.dispatcher import Dispatcher
from backend.features.knowledge.document_service import DocumentService
from backend.features.knowledge.ingestion import Ingestion
from backend.features.knowledge.intake import Intake
from backend.features.knowledge.jobs import Jobs
from backend.features.knowledge.models import Document
from backend.features.knowledge.places import Places
from backend.features.knowledge.ports import ChatReader, Indexer, KeywordOnly, NoChats
from backend.features.knowledge.progress import Progress
from backend.features.live.bus import LiveBus, MemoryBus

_SCRATCH = "scratch"
_OLD_SECONDS = 24 * 3600
"""After which a file that nobody finished is nobody's."""


@contextlib.asynccontextmanager
async def open_knowledge(
    settings: Settings,
    database: Database,
    audit: AuditLog,
    *,
    indexer: Indexer | None = None,
    chats: ChatReader | None = None,
    only: frozenset[uuid.UUID] | None = None,
    on_ready: Callable[[], None] = lambda: None,
    bus: LiveBus | None = None,
) -> AsyncIterator[Knowledge]:
    """Yield the services; `start` of the dispatcher is for whoever serves.

    Args:
        settings: limits and folders.
        database: the store.
        audit: who did what.
        indexer: what makes passages findable by vectors; None for keywords alone.
        chats: knows whose chats are whose; None where no chats are kept.
        only: documents to work on; None for all.
        on_ready: told when a document is ready.
        bus: tells whoever listens; None where nobody does.
    """
    wanted = settings.knowledge
    scratch = _prepared(settings.data_dir / _SCRATCH)
    async with contextlib.AsyncExitStack() as stack:
        blobs = await open_blobs(settings, stack, scratch)
        reading = build_reading(settings, stack)
        bus = bus or MemoryBus()
        jobs, progress = Jobs(database, wanted.lease_seconds), Progress(bus)
        ingestion = Ingestion(jobs, blobs, reading.reader, indexer or KeywordOnly(), scratch, on_ready)
        dispatcher = Dispatcher(jobs, ingestion, progress, slots=wanted.slots, only=only)
        stack.push_async_callback(dispatcher.aclose)
        changed = _telling(progress, dispatcher)
        places = Places(chats or NoChats())
        documents = DocumentService(database, blobs, places, audit, changed)
        yield Knowledge(
            CollectionService(database, audit, dispatcher.interrupt, bus),
            documents,
            Intake(database, blobs, places, documents, queued=wanted.queued_documents, changed=changed),
            DocumentAdministration(database, documents, changed),
            dispatcher,
            progress,
            scratch,
            wanted.document_bytes,
            reading.reads_images,
        )


def _telling(progress: Progress, dispatcher: Dispatcher) -> Callable[[Document], None]:
    """Return what is told of every document that something else was decided of."""

    def changed(document: Document) -> None:
        progress.tell_of(document)
        dispatcher.interrupt(document.id)

    return changed


def _prepared(folder: Path) -> Path:
    """Return a folder that is there, without what an end of the process left in it long ago."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _OLD_SECONDS:
                    path.unlink()
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise ConfigurationError(f"the folder {folder} cannot be used: {reason}") from None
    return folder
