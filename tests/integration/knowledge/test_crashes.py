"""Whenever the gateway ends, what it had acknowledged is there and is read by the next one, the same way."""

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.adapters.blobs.local import LocalBlobs
from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.keys import open_keys
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from backend.core.db.database import Database
from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.principal import OPERATOR
from backend.features.auth.running import RunningCalls
from backend.features.keys.scope import KeyDraft
from backend.features.knowledge.ingestion import Ingestion
from backend.features.knowledge.jobs import Job, Jobs
from backend.features.knowledge.models import Chunk
from backend.features.knowledge.ports import KeywordOnly
from backend.features.knowledge.states import Stage, Status
from tests.fixtures.gateway import Gateway, run_gateway
from tests.integration.accounts.conftest import KEY, Side
from tests.integration.knowledge.conftest import gone, make_collection, send_version, settled, upload

WORDS = "\n\n".join(f"# Part {n}\n\n" + f"Sentence {n} about leave and notice. " * 60 for n in range(100)).encode()
SECONDS = 50.0


class Ended(BaseException):
    """The process ends here."""


class EndingDatabase:
    """Ends the process at one of the times something is committed: just before, or just after."""

    def __init__(self, database: Database, at: int, *, after: bool) -> None:
        self.reading = database.reading
        self._database = database
        self._left = at
        self._after = after

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        self._left -= 1
        async with self._database.transaction() as session:
            yield session
            if self._left == 0 and not self._after:
                raise Ended
        if self._left == 0:
            raise Ended


def ending(jobs: Jobs, at: int, *, after: bool) -> Jobs:
    """Return claims in a process that ends at a commit."""
    return Jobs(EndingDatabase(jobs.database, at, after=after), jobs.lease_seconds)  # type: ignore[arg-type]


class PlainReader:
    """Reads text without a process of its own."""

    async def read(self, path: Path, name: str) -> Any:  # noqa: ARG002 (the port's)
        from backend.extraction.plain import read_text  # noqa: PLC0415

        for page in read_text(await asyncio.to_thread(path.read_bytes)):
            yield page


async def run(jobs: Jobs, settings: Settings, job: Job) -> None:
    blobs = LocalBlobs(settings.data_dir / "blobs")
    ingestion = Ingestion(jobs, blobs, PlainReader(), KeywordOnly(), settings.data_dir / "scratch")
    if job.status == Status.DELETING:
        await ingestion.remove(job)
        return
    stage: Stage | None = job.stage
    while stage is not None:
        stage = await ingestion.step(job, stage, lambda _percent: None)


async def rows(jobs: Jobs) -> list[tuple[Any, ...]]:
    columns = (Chunk.version, Chunk.ordinal, Chunk.text, Chunk.text_hash, Chunk.is_live)
    async with jobs.database.reading() as session:
        return [tuple(row) for row in await session.execute(select(*columns).order_by(Chunk.ordinal))]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_end_at_any_commit_changes_nothing_about_the_result(
    idle: Side, settings: Settings, *, after: bool
) -> None:
    place = await make_collection(idle)
    expected: list[tuple[Any, ...]] | None = None
    jobs = Jobs(idle.container.database, 0.0)  # whose claims are anybody's at once
    at = 0
    while True:
        document = uuid.UUID(await upload(idle, place, WORDS[:20_000]))
        await send_version(idle, str(document), WORDS[:30_000])
        job = await jobs.claim()
        assert job is not None
        has_ended = False
        try:
            await run(ending(jobs, at, after=after), settings, job)
        except Ended:
            has_ended = True
            while (job := await jobs.claim()) is not None:
                await run(jobs, settings, job)
        found = await rows(jobs)
        expected = expected or found
        assert found == expected
        assert all(row[4] and row[0] == 2 for row in found)
        shown = await settled(idle, str(document))
        assert (shown["status"], shown["ready_version"], shown["chunk_count"]) == ("ready", 2, len(found))
        await idle.ask("DELETE", f"/documents/{document}")
        job = await jobs.claim()
        assert job is not None
        try:
            await run(ending(jobs, at, after=after), settings, job)
        except Ended:
            while (job := await jobs.claim()) is not None:
                await run(jobs, settings, job)
        await gone(idle, str(document))
        assert await rows(jobs) == []
        assert not [path for path in (settings.data_dir / "blobs").rglob("*") if path.is_file()]
        if at and not has_ended:
            break
        at += 1
    assert at > 8


async def test_a_document_that_ends_the_gateway_again_and_again_is_left_alone(idle: Side) -> None:
    document = await upload(idle, await make_collection(idle), WORDS[:2000])
    jobs = Jobs(idle.container.database, 0.0)
    claims = 0
    while await jobs.claim() is not None:
        claims += 1
    shown = (await idle.ask("GET", f"/documents/{document}")).json()
    assert (claims, shown["status"], "interrupted too often" in shown["error"]) == (4, "failed", True)


async def test_two_workers_never_hold_one_document(idle: Side) -> None:
    place = await make_collection(idle)
    documents = {await upload(idle, place, f"number {n}".encode()) for n in range(4)}
    jobs = Jobs(idle.container.database, 30.0)
    claimed = await asyncio.gather(*[jobs.claim() for _ in range(8)])
    assert sorted(str(job.document_id) for job in claimed if job is not None) == sorted(documents)


async def seed(folder: Path) -> str:
    """Return the key of an administrator of a gateway that keeps its things here."""
    settings = load_settings(None, data_dir=folder)
    async with open_database(settings) as database:
        audit, running = AuditLog(database), RunningCalls()
        accounts = await open_accounts(settings, database, audit, signing_key(settings), running)
        owner = await accounts.own.create_admin("ada@example.org", "a long and rare phrase")
        async with open_keys(database, audit, accounts.sessions.known, running) as keys:
            return (await keys.own.create(Caller(OPERATOR), owner.id, KeyDraft("test", 1))).key


@pytest.fixture
def key(tmp_path: Path) -> Iterator[str]:
    yield asyncio.run(seed(tmp_path / "data"))
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


ENVIRONMENT = {"GATEWAY_KNOWLEDGE__LEASE_SECONDS": "1", "GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS": KEY}
MOMENTS = (("uploaded", 0.0), ("uploaded", 0.3), ("extracted", 0.0), ("extracted", 0.4))


def client_of(gateway: Gateway, key: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"{gateway.url}/api/v1", headers=headers, timeout=20, trust_env=False)


def put(client: httpx.Client, name: str) -> tuple[str, str]:
    place = client.post("/collections", json={"name": name}).json()["id"]
    fields = {"entity_type": "collection", "entity_id": place}
    reply = client.post("/documents/upload", data=fields, files={"file": ("note.md", WORDS * 4)})
    assert reply.status_code == 202, reply.text
    return place, reply.json()["id"]


def wait_for(client: httpx.Client, document: str, stages: set[str]) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/documents/{document}").json()
        assert found["status"] != "failed", found
        if found["stage"] in stages or found["status"] == "ready":
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def texts(client: httpx.Client, document: str) -> list[str]:
    found: list[str] = []
    while True:
        page = client.get(f"/documents/{document}/chunks", params={"skip": len(found), "limit": 100}).json()
        found += [item["text"] for item in page["items"]]
        if len(found) >= page["total"]:
            return found


@pytest.mark.timeout(180)
def test_a_gateway_killed_again_and_again_reads_the_document_all_the_same(tmp_path: Path, key: str) -> None:
    document = ""
    for stage, delay in MOMENTS:
        with run_gateway(tmp_path, ENVIRONMENT) as gateway, client_of(gateway, key) as client:
            document = document or put(client, "killed")[1]
            wait_for(client, document, {stage, "extracted", "chunked"})
            time.sleep(delay)
            gateway.process.kill()
            gateway.process.wait(timeout=10)
    with run_gateway(tmp_path, ENVIRONMENT) as gateway, client_of(gateway, key) as client:
        assert wait_for(client, document, {"none"})["status"] == "ready"
        undisturbed = put(client, "undisturbed")[1]
        assert wait_for(client, undisturbed, {"none"})["status"] == "ready"
        assert texts(client, document) == texts(client, undisturbed)
        assert "Traceback" not in gateway.log_text()
