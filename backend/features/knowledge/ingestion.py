"""The stages of a document, from its file to what is searched, and its removal.

Each stage can be done again: what it was about to write when it was cut off is written over. What is searched changes
in one transaction, and only then is the old version removed; so there is always one version that is whole.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import delete, select

from backend.extraction.pages import Unreadable
from backend.features.knowledge.jobs import Job, Jobs
from backend.features.knowledge.models import Document, DocumentVersion
from backend.features.knowledge.names import title_of
from backend.features.knowledge.passages import (
    add_rows,
    batches,
    cut_pages,
    drop_rows,
    drop_vectors,
    keep_only,
    make_live,
    make_rows,
    place_of,
    write_page,
)
from backend.features.knowledge.ports import BlobStore, DocumentReader, Indexer
from backend.features.knowledge.states import STAGES, Stage, Status, file_key, pages_key

_BATCH = 100
_MAX_NOTICE = 500
_EMPTY = "no text was found in this document; if it is a scan, text recognition must be on"

Report = Callable[[int], None]


class Ingestion:
    """Does one document's work under a claim.

    Args:
        jobs: the claims.
        blobs: where files lie.
        reader: reads documents.
        indexer: makes passages findable by vectors.
        scratch: a folder for files that are being written.
        on_ready: told when a document is ready.
    """

    def __init__(
        self,
        jobs: Jobs,
        blobs: BlobStore,
        reader: DocumentReader,
        indexer: Indexer,
        scratch: Path,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._reader = reader
        self._indexer = indexer
        self._scratch = scratch
        self._on_ready = on_ready

    async def step(self, job: Job, stage: Stage, report: Report) -> Stage | None:
        """Do what comes after a stage that is done; return the stage that is done then, None when all is.

        Raises `Unreadable` for a document that will never work, `GatewayError` for what may go better later, and
        `ClaimLost`.
        """
        match stage:
            case Stage.UPLOADED:
                await self._extract(job)
            case Stage.EXTRACTED:
                await self._chunk(job, report)
            case Stage.CHUNKED:
                notice = await self._indexer.embed(job.document_id, job.version, report)
                told = {"notice": notice[:_MAX_NOTICE] or None}
                await self._jobs.advance(job, stage=Stage.EMBEDDED, progress=0, attempts=1, **told)
            case Stage.EMBEDDED:
                notice = await self._indexer.index(job.document_id, job.version, report)
                told = {"notice": notice[:_MAX_NOTICE]} if notice else {}
                await self._jobs.advance(job, stage=Stage.INDEXED, progress=0, attempts=1, **told)
            case Stage.INDEXED:
                await self._switch(job)
            case Stage.SWITCHED:
                await self._tidy(job)
                return None
        return STAGES[STAGES.index(stage) + 1]

    async def _extract(self, job: Job) -> None:
        """Read the file's pages and keep them beside it."""
        file = file_key(job.document_id, job.version)
        scratch = self._scratch / uuid.uuid4().hex
        pages = 0
        try:
            async with self._blobs.open(file) as path:
                with scratch.open("wb") as out:
                    async with contextlib.aclosing(self._reader.read(path, job.filename)) as reading:
                        async for page in reading:
                            await asyncio.to_thread(write_page, out, page)
                            pages = max(pages, page.number)
            await self._blobs.put(pages_key(file), scratch)
        finally:
            scratch.unlink(missing_ok=True)
        await self._jobs.advance(job, stage=Stage.EXTRACTED, progress=0, attempts=1, page_count=pages)

    async def _chunk(self, job: Job, report: Report) -> None:
        """Cut the pages into passages and write them with their keywords, not yet to be searched."""
        async with self._blobs.open(pages_key(file_key(job.document_id, job.version))) as path:
            found = await asyncio.to_thread(cut_pages, path)
        count = len(found.chunks)
        if not count:
            raise Unreadable(_EMPTY)
        database, title = self._jobs.database, title_of(job.filename)
        async with database.transaction() as session:
            await self._jobs.hold(session, job, progress=0)
            await drop_rows(session, job.document_id, version=job.version)
            place = await place_of(session, job.document_id)
        common = {"document_id": job.document_id, "version": job.version, **place}
        for batch in batches(found.chunks, _BATCH):
            rows = await asyncio.to_thread(make_rows, batch, title, found.language, common)
            percent = 100 * (batch[-1].ordinal + 1) // count
            async with database.transaction() as session:
                await self._jobs.hold(session, job, progress=percent)
                await add_rows(session, rows)
            report(percent)
        told = {"chunk_count": count, "language": found.language.value}
        await self._jobs.advance(job, stage=Stage.CHUNKED, progress=0, attempts=1, **told)

    async def _switch(self, job: Job) -> None:
        """Let this version be searched from now on, and no other."""
        async with self._jobs.database.transaction() as session:
            switched = {"stage": Stage.SWITCHED, "ready_version": job.version, "progress": 0, "attempts": 1}
            await self._jobs.hold(session, job, **switched)
            await make_live(session, job.document_id, job.version)

    async def _tidy(self, job: Job) -> None:
        """Remove what versions before this one left: vectors first, for they are found by the passages.

        A later version may just be coming in: its file is there before the document says so.
        """
        await self._indexer.remove(job.document_id, but=job.version)
        for file in await self._files(job.document_id, before=job.version):
            await self._drop_file(file)
        async with self._jobs.database.transaction() as session:
            ready = {"status": Status.READY, "progress": 100, "attempts": 0, "error": None, "not_before": None}
            await self._jobs.finish(session, job, **ready)
            await keep_only(session, job.document_id, job.version)
        self._on_ready()

    async def remove(self, job: Job) -> None:
        """Remove everything of a document, its row last: as long as that is there, somebody knows what is left."""
        await self._indexer.remove(job.document_id)
        async with self._jobs.database.transaction() as session:
            await self._jobs.hold(session, job)
            await drop_vectors(session, job.document_id)
            await drop_rows(session, job.document_id)
        for file in await self._files(job.document_id):
            await self._drop_file(file)
        async with self._jobs.database.transaction() as session:
            await self._jobs.hold(session, job)
            await session.execute(delete(Document).where(Document.id == job.document_id))

    async def _files(self, document_id: uuid.UUID, before: int | None = None) -> list[str]:
        found = select(DocumentVersion.blob_key).where(DocumentVersion.document_id == document_id)
        found = found if before is None else found.where(DocumentVersion.version < before)
        async with self._jobs.database.reading() as session:
            return list(await session.scalars(found))

    async def _drop_file(self, file: str) -> None:
        await self._blobs.delete(pages_key(file))
        await self._blobs.delete(file)
