"""What fails for a while is tried again; what fails for good says so; other documents do not notice."""

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text, update

from backend.adapters.blobs.local import LocalBlobs
from backend.adapters.sandbox import Sandbox
from backend.core.config import Settings
from backend.core.db.tables import utc_now
from backend.core.errors import NotFound, StoreUnavailable
from backend.features.audit.service import Caller
from backend.features.auth.principal import OPERATOR
from backend.features.knowledge import dispatcher as dispatching
from backend.features.knowledge.dispatcher import Dispatcher
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.ingestion import Ingestion
from backend.features.knowledge.intake import Intake
from backend.features.knowledge.jobs import Jobs
from backend.features.knowledge.models import Document
from backend.features.knowledge.places import Places
from backend.features.knowledge.ports import KeywordOnly, NoChats
from backend.features.knowledge.progress import Progress
from backend.features.knowledge.states import Stage, Status
from backend.features.knowledge.uploads import ReceivedFile, describe
from tests.integration.accounts.conftest import Side
from tests.integration.knowledge.conftest import gone, make_collection, passages, settled, until, upload

Report = Callable[[int], None]
Event = Callable[[], Awaitable[object]]


class FailingIndexer(KeywordOnly):
    """Raises what it is given, one after the other, before it does its work."""

    def __init__(self, *errors: Exception) -> None:
        self.errors: Iterator[Exception] = iter(errors)
        self.asked = 0

    async def embed(self, document_id: uuid.UUID, version: int, report: Report) -> str:
        self._fail()
        return await super().embed(document_id, version, report)

    async def remove(self, document_id: uuid.UUID, *, but: int | None = None) -> None:  # noqa: ARG002 (the port's)
        if but is None:
            self._fail()

    def _fail(self) -> None:
        self.asked += 1
        error = next(self.errors, None)
        if error is not None:
            raise error


class WaitingIndexer(KeywordOnly):
    """Works for ever."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.left = 0

    async def embed(self, document_id: uuid.UUID, version: int, report: Report) -> str:  # noqa: ARG002 (the port's)
        self.begun.set()
        try:
            await asyncio.sleep(1000)
        finally:
            self.left += 1
        return ""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(dispatching, "_POLL_SECONDS", 0.05)


def worker(side: Side, settings: Settings, indexer: KeywordOnly, lease: float = 30.0) -> Dispatcher:
    jobs = Jobs(side.container.database, lease)
    blobs = LocalBlobs(settings.data_dir / "blobs")
    ingestion = Ingestion(jobs, blobs, Sandbox(), indexer, settings.data_dir / "scratch")
    made = Dispatcher(jobs, ingestion, Progress(), slots=1)
    made.start()
    return made


class Meanwhile(LocalBlobs):
    """Something else happens before and after a file is put there."""

    def __init__(self, folder: Path, before: Event | None = None, after: Event | None = None) -> None:
        super().__init__(folder)
        self._before, self._after = before, after

    async def put(self, key: str, file: Path) -> None:
        if self._before is not None:
            await self._before()
        await super().put(key, file)
        if self._after is not None:
            await self._after()


class Undeleting(Meanwhile):
    """Fails to delete, or ends the gateway before it does."""

    def __init__(self, folder: Path, before: Event, failure: BaseException) -> None:
        super().__init__(folder, before)
        self._failure = failure

    async def delete(self, key: str) -> None:  # noqa: ARG002 (the port's)
        raise self._failure


def intake(side: Side, blobs: LocalBlobs) -> Intake:
    database, documents = side.container.database, side.container.knowledge.documents
    return Intake(database, blobs, Places(NoChats()), documents, queued=10, changed=lambda _document: None)


async def received(settings: Settings, data: bytes) -> ReceivedFile:
    path = settings.data_dir / "scratch" / uuid.uuid4().hex
    path.write_bytes(data)
    return await describe(path, "note.txt", len(data), hashlib.sha256(data).hexdigest(), with_images=False)


AWAY = StoreUnavailable("the index does not answer; try again")


async def test_what_fails_for_a_while_is_tried_again(idle: Side, settings: Settings) -> None:
    indexer = FailingIndexer(AWAY, RuntimeError("a mistake of ours"))
    working = worker(idle, settings, indexer)
    document = await upload(idle, await make_collection(idle), b"some words")
    done = await settled(idle, document)
    await working.aclose()
    assert (done["status"], done["error"], indexer.asked) == ("ready", None, 3)


async def test_what_fails_for_good_says_why_and_can_be_tried_again_later(idle: Side, settings: Settings) -> None:
    indexer = FailingIndexer(*[AWAY] * 4)
    working = worker(idle, settings, indexer)
    document = await upload(idle, await make_collection(idle), b"some words")
    done = await settled(idle, document)
    assert (done["status"], done["error"], done["stage"]) == ("failed", AWAY.message, "chunked")
    assert await passages(idle, document) == []
    assert (await idle.ask("POST", f"/admin/documents/{document}/retry")).status_code == 200
    assert (await settled(idle, document))["status"] == "ready"
    await working.aclose()


async def test_a_removal_is_tried_until_it_is_done(idle: Side, settings: Settings) -> None:
    document = await upload(idle, await make_collection(idle), b"some words")
    assert (await idle.ask("DELETE", f"/documents/{document}")).status_code == 202
    working = worker(idle, settings, FailingIndexer(*[AWAY] * 6))
    await gone(idle, document)
    await working.aclose()


@pytest.mark.parametrize("decision", ["delete", "cancel"])
async def test_work_on_a_document_ends_when_something_else_is_decided_elsewhere(
    idle: Side, settings: Settings, decision: str
) -> None:
    indexer = WaitingIndexer()
    working = worker(idle, settings, indexer, lease=1.0)
    document = await upload(idle, await make_collection(idle), b"some words")
    async with asyncio.timeout(30):
        await indexer.begun.wait()
    if decision == "delete":
        await idle.ask("DELETE", f"/documents/{document}")
        await gone(idle, document)
    else:
        await idle.ask("POST", f"/admin/documents/{document}/cancel")
        assert (await settled(idle, document))["status"] == "cancelled"
        async with asyncio.timeout(30):
            while not indexer.left:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.05)
    await working.aclose()
    assert indexer.left == 1


async def test_what_was_begun_is_given_back_when_the_gateway_stops(idle: Side, settings: Settings) -> None:
    indexer = WaitingIndexer()
    working = worker(idle, settings, indexer)
    document = await upload(idle, await make_collection(idle), b"some words")
    async with asyncio.timeout(30):
        await indexer.begun.wait()
    await working.aclose()
    following = worker(idle, settings, KeywordOnly())
    assert (await settled(idle, document))["status"] == "ready"
    await following.aclose()


async def test_a_worker_told_of_work_and_to_stop_at_once_stops(idle: Side, settings: Settings) -> None:
    working = worker(idle, settings, KeywordOnly())
    await asyncio.sleep(0.02)
    working.wake()
    async with asyncio.timeout(30):
        await working.aclose()


async def test_a_new_file_that_comes_in_while_the_old_one_is_finished_is_kept(idle: Side, settings: Settings) -> None:
    document = await upload(idle, await make_collection(idle), b"the old words")
    jobs = Jobs(idle.container.database, 30.0)
    blobs, folder = LocalBlobs(settings.data_dir / "blobs"), settings.data_dir / "scratch"
    ingestion = Ingestion(jobs, blobs, Sandbox(), KeywordOnly(), folder)
    job = await jobs.claim()
    assert job is not None
    stage: Stage | None = job.stage
    while stage is not None and stage is not Stage.SWITCHED:
        stage = await ingestion.step(job, stage, lambda _percent: None)
    finished = partial(ingestion.step, job, Stage.SWITCHED, lambda _percent: None)
    taking = intake(idle, Meanwhile(settings.data_dir / "blobs", after=finished))
    await taking.replace(Caller(OPERATOR), uuid.UUID(document), await received(settings, b"the new words"))
    working = worker(idle, settings, KeywordOnly())
    assert (await settled(idle, document))["error"] is None
    await working.aclose()
    assert await passages(idle, document) == ["the new words"]


async def test_a_file_whose_place_goes_before_it_is_taken_is_not_kept(idle: Side, settings: Settings) -> None:
    place = await make_collection(idle)
    working = worker(idle, settings, KeywordOnly())

    async def has_none() -> bool:
        async with idle.container.database.reading() as session:
            return not await session.scalar(text("select count(*) from documents"))

    async def goes() -> None:
        await idle.ask("DELETE", f"/collections/{place}")
        await until(has_none)

    taking = intake(idle, Meanwhile(settings.data_dir / "blobs", before=goes))
    entity = Entity(EntityKind.COLLECTION, uuid.UUID(place))
    with pytest.raises(NotFound):
        await taking.add(Caller(OPERATOR), entity, await received(settings, b"some words"))
    await working.aclose()
    assert [path for path in (settings.data_dir / "blobs").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("failure", [StoreUnavailable("the files do not answer"), asyncio.CancelledError()])
async def test_the_file_of_a_twin_is_removed_in_the_end_even_if_the_gateway_ends_before(
    idle: Side, settings: Settings, failure: BaseException
) -> None:
    entity = Entity(EntityKind.COLLECTION, uuid.UUID(await make_collection(idle)))
    folder = settings.data_dir / "blobs"

    async def add(blobs: LocalBlobs) -> uuid.UUID:
        file = await received(settings, b"some words")
        return (await intake(idle, blobs).add(Caller(OPERATOR), entity, file)).view.document.id

    first: list[uuid.UUID] = []

    async def comes_first() -> None:
        first.append(await add(LocalBlobs(folder)))

    blobs = Undeleting(folder, comes_first, failure)
    if isinstance(failure, StoreUnavailable):
        assert await add(blobs) == first[0]
    else:
        with pytest.raises(asyncio.CancelledError):
            await add(blobs)
    assert sum(path.is_file() for path in folder.rglob("*")) == 2
    async with idle.container.database.transaction() as session:
        old = update(Document).where(Document.status == Status.UPLOADING)
        await session.execute(old.values(updated_at=utc_now() - timedelta(days=1)))
    working = worker(idle, settings, KeywordOnly())
    await working.sweep()

    async def is_alone() -> bool:
        async with idle.container.database.reading() as session:
            return await session.scalar(text("select count(*) from documents")) == 1

    await until(is_alone)
    await settled(idle, str(first[0]))
    await working.aclose()
    assert {path.parts[-3] for path in folder.rglob("*") if path.is_file()} == {str(first[0])}
