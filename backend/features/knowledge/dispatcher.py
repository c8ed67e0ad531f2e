"""Works on documents, a few at a time, one stage after the other, until the process ends; the next one goes on.

Every document is claimed for a while and the claim renewed as long as this process lives. A document whose owner
decides otherwise meanwhile (deletes it, replaces it) is left at once here, and within a third of a lease in other
processes.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial

from backend.core.db.tables import utc_now
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.extraction.pages import Unreadable
from backend.features.knowledge.ingestion import Ingestion
from backend.features.knowledge.jobs import MAX_ATTEMPTS, ClaimLost, Job, Jobs
from backend.features.knowledge.progress import Progress
from backend.features.knowledge.states import Stage, State, Status

_log = get_logger(__name__)

_POLL_SECONDS = 2.0
_SWEEP_SECONDS = 60.0
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0
_UNEXPECTED = "reading this document failed unexpectedly; ask an administrator to look for it in the gateway's log"
_MAX_ERROR = 500


class Dispatcher:
    """Runs ingestion.

    Args:
        jobs: the claims.
        ingestion: what is done under one.
        progress: whom to tell.
        slots: documents at the same time.
        only: documents to care about; None for all.
    """

    def __init__(
        self,
        jobs: Jobs,
        ingestion: Ingestion,
        progress: Progress,
        *,
        slots: int,
        only: frozenset[uuid.UUID] | None = None,
    ) -> None:
        self._jobs = jobs
        self._ingestion = ingestion
        self._progress = progress
        self._slots = slots
        self._only = only
        self._wake = asyncio.Event()
        self._running: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._percents: dict[uuid.UUID, int] = {}

    def start(self) -> None:
        """Begin to work, unless that is so already."""
        if self._tasks:
            return
        self._tasks = [asyncio.create_task(self._slot(), name="read documents") for _ in range(self._slots)]
        if self._only is None:
            self._tasks.append(asyncio.create_task(self._sweep(), name="sweep documents"))

    async def aclose(self) -> None:
        """Stop; what was begun is given back, to be taken up where it was."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def interrupt(self, document_id: uuid.UUID) -> None:
        """Leave a document, of which something else was decided."""
        task = self._running.get(document_id)
        if task is not None:
            task.cancel()
        self._wake.set()

    async def sweep(self) -> None:
        """Have documents removed that lost what they are in, or their owner."""
        await self._jobs.sweep()

    async def _slot(self) -> None:
        while True:
            job = None
            try:
                self._wake.clear()
                job = await self._jobs.claim(self._only)
            except GatewayError as error:
                _log.warning("documents_unread", reason=error.message)
            except Exception:  # noqa: BLE001 (work goes on)
                _log.exception("documents_unread_unexpectedly")
            if job is not None:
                await self._work(job)
                continue
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: told to look and to stop at once, it forgets that it was to stop.
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wake.wait()

    async def _work(self, job: Job) -> None:
        """Work on a claimed document to whatever end; only the end of the process is passed on."""
        task = asyncio.create_task(self._outcome(job), name="read document")
        beating = asyncio.create_task(self._beat(job, task), name="keep document")
        self._running[job.document_id] = task
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            beating.cancel()
            del self._running[job.document_id]
            self._percents.pop(job.document_id, None)

    async def _outcome(self, job: Job) -> None:
        try:
            await self._run(job)
        except asyncio.CancelledError:
            await _try(self._jobs.let_go(job, is_counted=False))
        except ClaimLost:
            await _try(self._jobs.let_go(job, is_counted=False))
            _log.info("document_left", document=str(job.document_id))
        except Unreadable as error:
            await _try(self._fail(job, str(error)))
        except GatewayError as error:
            await _try(self._put_off(job, error.message))
        except Exception:  # noqa: BLE001 (one document, not the gateway)
            _log.exception("document_failed_unexpectedly", document=str(job.document_id))
            await _try(self._put_off(job, _UNEXPECTED))
        finally:
            await _try(self._tell(job))

    async def _run(self, job: Job) -> None:
        if job.status == Status.DELETING:
            await self._ingestion.remove(job)
            return
        stage: Stage | None = job.stage
        while stage is not None:
            self._report(job, stage, 0)
            stage = await self._ingestion.step(job, stage, partial(self._report, job, stage))

    def _report(self, job: Job, stage: str, percent: int) -> None:
        self._percents[job.document_id] = percent
        self._tell_state(job, State(job.status, stage, percent, job.version))

    async def _tell(self, job: Job) -> None:
        state = await self._jobs.state(job.document_id)
        if state is None:
            self._progress.end(job.document_id)
        else:
            self._tell_state(job, state)

    def _tell_state(self, job: Job, state: State) -> None:
        self._progress.tell(job.document_id, state, collection_id=job.collection_id, chat_id=job.chat_id)

    async def _beat(self, job: Job, task: asyncio.Task[None]) -> None:
        """Renew the claim; leave the document once it is somebody else's or nobody can say whose it is."""
        every = self._jobs.lease_seconds / 3
        renewed = asyncio.get_running_loop().time()
        while not task.done():
            await asyncio.sleep(every)
            percent = self._percents.get(job.document_id)
            try:
                await self._jobs.advance(job, **({} if percent is None else {"progress": percent}))
                renewed = asyncio.get_running_loop().time()
            except ClaimLost:
                task.cancel()
                return
            except GatewayError as error:
                _log.warning("document_unkept", reason=error.message)
                if asyncio.get_running_loop().time() - renewed > self._jobs.lease_seconds:
                    task.cancel()
                    return

    async def _fail(self, job: Job, reason: str) -> None:
        async with self._jobs.database.transaction() as session:
            await self._jobs.finish(session, job, status=Status.FAILED, error=reason[:_MAX_ERROR])
        _log.info("document_failed", document=str(job.document_id), reason=reason)

    async def _put_off(self, job: Job, reason: str) -> None:
        """Try again later; after the last attempt the document has failed, while a removal is tried for ever."""
        async with self._jobs.database.transaction() as session:
            attempts = await self._jobs.attempts(session, job)
            if attempts >= MAX_ATTEMPTS and job.status != Status.DELETING:
                await self._jobs.finish(session, job, status=Status.FAILED, error=reason[:_MAX_ERROR])
                return
            wait = min(_FIRST_WAIT * 2 ** min(attempts, 10), _LONGEST_WAIT) * random.uniform(0.8, 1.2)  # noqa: S311
            due = {"not_before": utc_now() + timedelta(seconds=wait), "error": reason[:_MAX_ERROR]}
            if job.status != Status.DELETING:
                due["status"] = Status.QUEUED
            await self._jobs.finish(session, job, **due)
        _log.warning("document_put_off", document=str(job.document_id), reason=reason)

    async def _sweep(self) -> None:
        while True:
            await _try(self._jobs.sweep())
            await asyncio.sleep(_SWEEP_SECONDS)


async def _try(work: Awaitable[None]) -> None:
    """Do what may fail without harm: the claim ends by itself, and the next sweep comes."""
    try:
        await work
    except ClaimLost:
        pass
    except Exception:  # noqa: BLE001 (see above)
        _log.exception("documents_unkept")
