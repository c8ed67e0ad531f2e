"""Vectors over time: documents come, the embedder changes, indices break; the database brings everything back."""

import asyncio
import contextlib
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from backend.adapters.vectors.chroma_embedded import EmbeddedChroma
from backend.adapters.vectors.exact import ExactVectors
from backend.bootstrap.store import open_database
from backend.bootstrap.vectors import check_index, index_kind
from backend.core.config import Settings, load_settings
from backend.core.db.database import Database
from backend.core.errors import ConfigurationError, StoreUnavailable
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.service import GenerationService
from backend.features.knowledge.embedder_choice import EmbedderChoice
from backend.features.knowledge.embedders import Embedders
from backend.features.knowledge.fusion import fuse
from backend.features.knowledge.index_keeper import IndexKeeper
from backend.features.knowledge.index_names import IndexName
from backend.features.knowledge.indexing import EmbedderAway, VectorIndexer
from backend.features.knowledge.models import Chunk, Document
from backend.features.knowledge.routed_index import RoutedIndex
from backend.features.knowledge.upkeep import Upkeep
from backend.features.knowledge.vector_rows import VectorRows
from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderAuthFailed, ProviderRejected, ProviderUnreachable
from backend.llm.types import Embeddings, EmbedRequest
from tests.fakes.knowledge import VectorProvider, add_collection, add_document, add_owner
from tests.fakes.providers import backend_of, info
from tests.fixtures.databases import PostgresServer, postgres

__all__ = ["postgres"]

TEXTS = [f"passage {number} about {topic}" for number in range(12) for topic in ("ships", "bread", "stars")]
QUESTIONS = ("ships", "bread and stars", "passage 7")


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    values: dict[str, Any] = {"jwt_secret_key": "9c1f6e0b7d2a4853c6e8f0a1b2d3c4e5"}
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        values["DATABASE_URL"] = await asyncio.to_thread(server.create_database)
    async with open_database(load_settings(None, data_dir=tmp_path, **values), migrating=True) as opened:
        yield opened


@dataclass
class Vectors:
    """Everything about vectors, as a gateway has it, over one folder."""

    database: Database
    folder: Path
    providers: Mapping[str, VectorProvider]
    wanted: Any = "auto"
    rows: VectorRows = field(init=False)

    def __post_init__(self) -> None:
        self.rows = VectorRows(self.database)
        self.chroma = EmbeddedChroma(self.folder / "chroma")
        self.exact = ExactVectors(self.rows)
        self.index = RoutedIndex(self.chroma, self.exact)
        backends = [backend_of(provider, kind, kind, failures=100) for kind, provider in self.providers.items()]
        self.catalog = CatalogService(backends, 0)
        generation = GenerationService(Admission(AdmissionLimits()))
        choice = EmbedderChoice(self.catalog, self.wanted)
        self.embedders = Embedders(choice, self.catalog, generation, self.rows)
        self.indexer = VectorIndexer(self.rows, self.index, self.embedders)
        self.keeper = IndexKeeper(self.rows, self.index)
        self.upkeep = Upkeep(self.rows, self.embedders, self.indexer, self.keeper)
        self.index.is_rebuilding, self.index.suspect = self.keeper.is_rebuilding, self.upkeep.suspect
        self.indexer.suspect = self.upkeep.suspect

    async def ingest(self, document: uuid.UUID) -> None:
        await self.indexer.embed(document, 1, lambda _percent: None)
        await self.indexer.index(document, 1, lambda _percent: None)

    async def name(self, collection: uuid.UUID) -> str:
        current = await self.rows.current()
        assert current is not None
        return str(IndexName("kb", collection, current.value))

    async def rankings(self, collection: uuid.UUID) -> list[Sequence[tuple[int, float]]]:
        found = []
        for question in QUESTIONS:
            _, vector = await self.embedders.question(question)
            hits = await self.index.search(await self.name(collection), vector, 10)
            found.append([(number, round(score, 4)) for number, score in hits])
        return found


@contextlib.asynccontextmanager
async def opened(
    database: Database, folder: Path, providers: Mapping[str, VectorProvider] | None = None, wanted: str = "auto"
) -> AsyncIterator[Vectors]:
    vectors = Vectors(database, folder, providers if providers is not None else {"mistral": VectorProvider()}, wanted)
    try:
        yield vectors
    finally:
        await vectors.upkeep.aclose()
        await vectors.chroma.aclose()
        await vectors.catalog.aclose()


async def filled(database: Database) -> uuid.UUID:
    """Return a collection with a document that nobody embedded."""
    owner = await add_owner(database)
    collection = await add_collection(database, owner)
    await add_document(database, owner, collection, TEXTS)
    return collection


async def test_a_document_is_embedded_once_and_found(database: Database, tmp_path: Path) -> None:
    owner = await add_owner(database)
    collection = await add_collection(database, owner)
    provider = VectorProvider()
    told: list[int] = []
    async with opened(database, tmp_path, {"mistral": provider}) as vectors:
        document = await add_document(database, owner, collection, TEXTS, is_live=False)
        await vectors.indexer.embed(document, 1, told.append)
        await vectors.indexer.index(document, 1, lambda _percent: None)
        asked = len(provider.asked)
        copy = await add_document(database, owner, await add_collection(database, owner), TEXTS)
        await vectors.ingest(copy)
        assert len(provider.asked) == asked  # the same texts have their vectors
        assert told[-1] == 100
        name = await vectors.name(collection)
        assert await vectors.index.count(name) == len(TEXTS)
        _, vector = await vectors.embedders.question("stars")
        assert len(await vectors.index.search(name, vector, 5)) == 5
        await vectors.indexer.remove(document, but=1)
        assert await vectors.index.count(name) == len(TEXTS)
        await vectors.indexer.remove(document)
        assert await vectors.index.count(name) == 0


async def state(database: Database, document: uuid.UUID) -> str | None:
    """Return what a document is said to lack."""
    async with database.reading() as session:
        found = await session.get(Document, document)
        assert found is not None
        return found.notice


async def make_ready(database: Database, document: uuid.UUID, notice: str) -> None:
    """Do what the last stages of ingestion do."""
    async with database.transaction() as session:
        ready = {"status": "ready", "ready_version": 1, "notice": notice or None}
        await session.execute(update(Document).where(Document.id == document).values(**ready))
        await session.execute(update(Chunk).where(Chunk.document_id == document).values(is_live=True))


async def test_an_embedder_that_is_away_keeps_no_document_from_its_readers(database: Database, tmp_path: Path) -> None:
    owner = await add_owner(database)
    collection = await add_collection(database, owner)
    provider = VectorProvider()
    async with opened(database, tmp_path, {"mistral": provider}) as vectors:
        await vectors.ingest(await add_document(database, owner, collection, TEXTS[:9]))
        await vectors.upkeep.once()
        name = await vectors.name(collection)
        provider.failures = [ProviderAuthFailed("mistral refuses its key") for _ in range(2)]
        document = await add_document(database, owner, collection, TEXTS[9:], is_live=False)
        notice = await vectors.indexer.embed(document, 1, lambda _percent: None)
        assert notice.startswith("found by its words alone for now: mistral refuses its key.")
        assert await vectors.indexer.index(document, 1, lambda _percent: None) == ""
        await make_ready(database, document, notice)
        with pytest.raises(EmbedderAway):
            await vectors.upkeep.once()
        assert await state(database, document) == notice
        assert await vectors.index.count(name) == 9
        before = provider.asked[:]
        await vectors.upkeep.once()
        assert await state(database, document) is None
        assert await vectors.index.count(name) == len(TEXTS)
        assert not any(
            text.startswith("some notes\n" + TEXTS[0]) for batch in provider.asked[len(before) :] for text in batch
        )


async def test_a_document_that_came_while_its_first_embedder_was_away_says_so(
    database: Database, tmp_path: Path
) -> None:
    owner = await add_owner(database)
    collection = await add_collection(database, owner)
    provider = VectorProvider(failures=[ProviderAuthFailed("mistral refuses its key")])
    async with opened(database, tmp_path, {"mistral": provider}) as vectors:
        document = await add_document(database, owner, collection, TEXTS, is_live=False)
        notice = await vectors.indexer.embed(document, 1, lambda _percent: None)
        assert "mistral refuses its key" in notice
        await make_ready(database, document, notice)
        await vectors.upkeep.once()
        await vectors.upkeep.once()
        assert await state(database, document) is None
        assert all(await vectors.rankings(collection))


async def test_an_index_that_is_away_keeps_no_document_from_its_readers(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await add_owner(database)
    collection = await add_collection(database, owner)
    async with opened(database, tmp_path) as vectors:
        await vectors.ingest(await add_document(database, owner, collection, TEXTS[:9]))
        document = await add_document(database, owner, collection, TEXTS[9:], is_live=False)
        with monkeypatch.context() as broken:
            for method in ("add", "remove", "drop", "count"):
                broken.setattr(vectors.chroma, method, _away)
            assert await vectors.indexer.embed(document, 1, lambda _percent: None) == ""
            notice = await vectors.indexer.index(document, 1, lambda _percent: None)
            assert notice.startswith("found by its words alone for now: the index")
            await vectors.indexer.remove(document, but=1)
            with pytest.raises(StoreUnavailable):
                await vectors.indexer.remove(document)
            await make_ready(database, document, notice)
            with pytest.raises(StoreUnavailable):
                await vectors.upkeep.once()
        await vectors.upkeep.once()
        assert await state(database, document) is None
        assert await vectors.index.count(await vectors.name(collection)) == len(TEXTS)


async def test_a_passage_that_an_embedder_refuses_keeps_no_other_from_its_vector(
    database: Database, tmp_path: Path
) -> None:
    owner = await add_owner(database)
    collection = await add_collection(database, owner)
    provider = Refusing()
    async with opened(database, tmp_path, {"mistral": provider}) as vectors:
        document = await add_document(database, owner, collection, [*TEXTS, "poison", "more bread"], is_live=False)
        notice = await vectors.indexer.embed(document, 1, lambda _percent: None)
        assert "refused" in notice
        await vectors.indexer.index(document, 1, lambda _percent: None)
        await make_ready(database, document, notice)
        await vectors.upkeep.once()
        asked = len(provider.asked)
        await vectors.upkeep.once()
        assert len(provider.asked) == asked
        assert await vectors.index.count(await vectors.name(collection)) == len(TEXTS) + 1
        assert await state(database, document) == notice


class Refusing(VectorProvider):
    """Refuses one text, and every batch with it."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        if any("poison" in text for text in request.inputs):
            self.asked.append(request.inputs)
            raise ProviderRejected("this text is not for us")
        return await super().embed(request)


async def _away(*_given: object) -> None:
    raise StoreUnavailable("the index does not answer")


async def test_documents_of_a_chat_are_compared_without_an_index(database: Database, tmp_path: Path) -> None:
    owner = await add_owner(database)
    async with opened(database, tmp_path) as vectors:
        document = await add_document(database, owner, None, TEXTS)
        await vectors.ingest(document)
        [(_, scope), *_] = await vectors.rows.numbers_of(document, None)
        current = await vectors.rows.current()
        assert current is None or current.dimensions == 32
        await vectors.upkeep.once()
        used = vectors.embedders.searched
        assert used is not None
        _, vector = await vectors.embedders.question("ships")
        found = await vectors.index.search(str(IndexName("chat", scope.scope, used.fingerprint.value)), vector, 4)
        assert len(found) == 4
        assert list(await vectors.index.names()) == []


async def test_without_an_embedder_nothing_is_asked_and_one_that_appears_is_given_all(
    database: Database, tmp_path: Path
) -> None:
    collection = await filled(database)
    provider = VectorProvider(models=())
    async with opened(database, tmp_path, {"ollama": provider}) as vectors:
        await vectors.upkeep.once()
        status = await vectors.embedders.status("embedded")
        assert (status.mode, status.model) == ("keyword", "")
        assert "pull one" in status.reason
        with pytest.raises(StoreUnavailable, match="semantic search is off"):
            await vectors.embedders.question("ships")
        assert provider.asked == []
        provider.models = [info("bge-m3", Capability.EMBEDDING)]
        await vectors.upkeep.once()
        status = await vectors.embedders.status("embedded")
        assert (status.mode, status.model, status.waiting, status.is_changing) == ("hybrid", "bge-m3", 0, False)
        assert all(await vectors.rankings(collection))


async def test_another_embedder_takes_over_when_all_its_vectors_are_there(database: Database, tmp_path: Path) -> None:
    collection = await filled(database)
    old = VectorProvider(models=[info("bge-m3", Capability.EMBEDDING)])
    new = VectorProvider(dimensions=48, seed=1)
    async with opened(database, tmp_path, {"ollama": old}) as vectors:
        await vectors.upkeep.once()
        before = await vectors.name(collection)
    async with opened(database, tmp_path, {"ollama": old, "mistral": new}, "mistral") as vectors:
        new.failures = [None, *[ProviderUnreachable("away") for _ in range(50)]]
        with pytest.raises(EmbedderAway):
            await vectors.upkeep.once()
        assert await vectors.name(collection) == before
        status = await vectors.embedders.status("embedded")
        assert (status.model, status.is_changing, status.waiting) == ("mistral-embed", True, len(TEXTS))
        assert all(await vectors.rankings(collection))
        assert (await vectors.embedders.question("ships"))[0].model == "bge-m3"
        new.failures = []
        await vectors.upkeep.once()
        after = await vectors.name(collection)
        assert after != before
        assert (await vectors.embedders.question("ships"))[0].model == "mistral-embed"
        assert {before, after} <= set(await vectors.index.names())
        await vectors.upkeep.once()
        assert list(await vectors.index.names()) == [after]
        assert await vectors.rows.count_without_vector((await vectors.embedders.question("x"))[0].value) == 0


async def test_with_none_the_embedder_of_before_is_not_asked(database: Database, tmp_path: Path) -> None:
    collection = await filled(database)
    provider = VectorProvider()
    async with opened(database, tmp_path, {"mistral": provider}) as vectors:
        await vectors.upkeep.once()
        assert all(await vectors.rankings(collection))
    provider.asked.clear()
    async with opened(database, tmp_path, {"mistral": provider}, "none") as vectors:
        await vectors.upkeep.once()
        assert (await vectors.embedders.status("embedded")).mode == "keyword"
        assert provider.asked == []


def truncate(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "lock":
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 3)


DAMAGES = {
    "files cut short": truncate,
    "the folder deleted": shutil.rmtree,
    "the index deleted, the lock kept": lambda folder: [shutil.rmtree(path) for path in folder.glob("index-*")],
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_folder_is_rebuilt_with_the_same_rankings(
    database: Database, tmp_path: Path, damage: str
) -> None:
    collection = await filled(database)
    async with opened(database, tmp_path) as vectors:
        await vectors.upkeep.once()
        before = await vectors.rankings(collection)
    DAMAGES[damage](tmp_path / "chroma")
    async with opened(database, tmp_path) as vectors:
        await vectors.upkeep.once()
        assert await vectors.rankings(collection) == before
        assert await vectors.index.count(await vectors.name(collection)) == len(TEXTS)


async def test_lost_rows_are_noticed_and_brought_back(database: Database, tmp_path: Path) -> None:
    collection = await filled(database)
    async with opened(database, tmp_path) as vectors:
        await vectors.upkeep.once()
        name, before = await vectors.name(collection), await vectors.rankings(collection)
        numbers = await vectors.rows.random_numbers(name, 5)
        await vectors.chroma.remove(name, numbers)
        assert await vectors.keeper.check(name)
        assert await vectors.rankings(collection) == before
        assert not await vectors.keeper.check(name)


async def test_an_index_that_fails_is_answered_for_by_the_database_until_it_is_mended(
    database: Database, tmp_path: Path
) -> None:
    collection = await filled(database)
    async with opened(database, tmp_path) as vectors:
        await vectors.upkeep.once()
        before = await vectors.rankings(collection)
        shutil.rmtree(tmp_path / "chroma" / "index-1")
        vectors.chroma._collections.clear()
        vectors.keeper._rebuilding.add(await vectors.name(collection))
        assert await vectors.rankings(collection) == before
        vectors.keeper._rebuilding.clear()
        await vectors.keeper.rebuild_all((await vectors.embedders.question("x"))[0].value)
        assert await vectors.rankings(collection) == before


@pytest.mark.timeout(180)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), weight=st.floats(0, 1))
async def test_fused_rankings_are_the_same_after_a_rebuild(
    database: Database, tmp_path: Path, seed: int, weight: float
) -> None:
    drawn = random.Random(seed)  # noqa: S311 (texts to find)
    owner = await add_owner(database)
    collection = await add_collection(database, owner)
    words = ["sea", "oven", "comet", "rye", "mast", "orbit"]
    texts = [" ".join(drawn.choices(words, k=drawn.randint(1, 6))) for _ in range(drawn.randint(1, 20))]
    async with opened(database, tmp_path) as vectors:
        await add_document(database, owner, collection, texts)
        await vectors.upkeep.once()
        name = await vectors.name(collection)
        _, vector = await vectors.embedders.question(drawn.choice(words))
        keywords = {number: drawn.random() for number in await vectors.rows.random_numbers(name, 5)}
        before = fuse(keywords, dict(await vectors.index.search(name, vector, 20)), weight)
        await vectors.keeper.rebuild(name)
        after = fuse(keywords, dict(await vectors.index.search(name, vector, 20)), weight)
        assert after == pytest.approx(before, abs=1e-5)


def configured(folder: Path, **values: Any) -> Settings:
    return load_settings(None, data_dir=folder, **values)


def test_what_several_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    many = {"workers": 2}
    assert index_kind(configured(tmp_path)) == "embedded"
    assert index_kind(configured(tmp_path, server=many)) == "exact"
    assert index_kind(configured(tmp_path, server=many, CHROMA_URL="http://127.0.0.1:9")) == "server"
    for kind in ("embedded", "server"):
        with pytest.raises(ConfigurationError, match="CHROMA_URL"):
            index_kind(configured(tmp_path, server=many, knowledge={"index": kind}))
    with pytest.raises(ConfigurationError, match="unset one of the two"):
        index_kind(configured(tmp_path, CHROMA_URL="http://127.0.0.1:9", knowledge={"index": "exact"}))


async def test_a_second_gateway_on_the_folder_is_told_before_it_starts(tmp_path: Path) -> None:
    check_index(configured(tmp_path))
    index = EmbeddedChroma(tmp_path / "chroma")
    await index.open()
    try:
        with pytest.raises(ConfigurationError, match="another process keeps the index"):
            check_index(configured(tmp_path))
    finally:
        await index.aclose()
    check_index(configured(tmp_path))
