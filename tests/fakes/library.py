"""Documents in a database as ingestion leaves them there, and what stands in for models that make vectors."""

import asyncio
import hashlib
import uuid
from array import array
from collections.abc import Mapping, Sequence

from backend.core.db.database import Database
from backend.core.errors import GatewayError
from backend.features.agents.models import Agent
from backend.features.knowledge.index_names import parse_index_name
from backend.features.knowledge.keyword_search import add_terms
from backend.features.knowledge.languages import Language
from backend.features.knowledge.models import (
    AgentCollection,
    Chunk,
    Collection,
    CollectionShare,
    Document,
)
from backend.features.knowledge.ports import Fingerprint, Purpose
from backend.features.knowledge.terms import index_terms, language_of


async def add_agent(database: Database, owner_id: uuid.UUID | None, name: str = "lex", **fields: object) -> uuid.UUID:
    """Return the id of a new agent."""
    async with database.transaction() as session:
        agent = Agent(owner_id=owner_id, name=name, model="mistral-small-latest", shares=[], **fields)
        session.add(agent)
        await session.flush()
        return agent.id


async def add_collection(
    database: Database,
    owner_id: uuid.UUID | None,
    name: str = "laws",
    *,
    is_public: bool = False,
    roles: Sequence[uuid.UUID] = (),
    agents: Sequence[uuid.UUID] = (),
) -> uuid.UUID:
    """Return the id of a new collection, shared with roles and given to agents."""
    async with database.transaction() as session:
        shares = [CollectionShare(role_id=role_id) for role_id in roles]
        collection = Collection(owner_id=owner_id, name=name, is_public=is_public, shares=shares)
        session.add(collection)
        await session.flush()
        session.add_all(AgentCollection(agent_id=agent_id, collection_id=collection.id) for agent_id in agents)
        return collection.id


async def add_document(
    database: Database,
    owner_id: uuid.UUID | None,
    *passages: str,
    filename: str = "law.pdf",
    collection_id: uuid.UUID | None = None,
    agent_id: uuid.UUID | None = None,
    chat_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Return the id of a new document that is ready, each of its passages on a page of its own."""
    language = language_of(" ".join(passages))
    place = {"collection_id": collection_id, "agent_id": agent_id, "chat_id": chat_id}
    async with database.transaction() as session:
        document = Document(
            owner_id=owner_id, filename=filename, mime_type="application/pdf", file_size=1, sha256="0" * 64,
            ready_version=1, status="ready", stage="indexed", language=language.value, **place,
        )  # fmt: skip
        session.add(document)
        await session.flush()
        start = 0
        rows = []
        for ordinal, text in enumerate(passages):
            chunk = Chunk(
                document_id=document.id, version=1, ordinal=ordinal, is_live=True, text=text, headings=[],
                first_page=ordinal + 1, last_page=ordinal + 1, start=start, text_hash=text_hash(text),
                language=language.value, **place,
            )  # fmt: skip
            session.add(chunk)
            await session.flush()
            rows.append({"number": chunk.number, **_terms(filename, text, language)})
            start += len(text) + 2
        connection = await session.connection()
        await connection.run_sync(add_terms, rows)
        return document.id


def text_hash(text: str) -> bytes:
    """Return what a vector of a passage is known by."""
    return hashlib.sha256(text.encode()).digest()


def _terms(title: str, text: str, language: Language) -> dict[str, str]:
    return {"title": " ".join(index_terms(title, language)), "body": " ".join(index_terms(text, language))}


class FakeEmbedder:
    """Implements `TextEmbedder`: a text's vector points to where its known word does."""

    def __init__(self, meanings: Mapping[str, Sequence[float]], failure: GatewayError | None = None) -> None:
        self.meanings = meanings
        self.failure = failure
        self.asked: list[str] = []

    async def fingerprint(self) -> Fingerprint:
        """Return which embedder this is."""
        return Fingerprint("f" * 16, "fake", "mistral-embed", 2)

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:
        """Return the vectors."""
        assert purpose == "query"
        self.asked += texts
        if self.failure is not None:
            raise self.failure
        return [vector(next((v for word, v in self.meanings.items() if word in text), (0.0, 1.0))) for text in texts]


def vector(numbers: Sequence[float]) -> bytes:
    """Return a vector as it is kept."""
    return array("f", numbers).tobytes()


class FakeIndex:
    """Implements what retrieval needs of `VectorIndex`: whatever is asked, it finds what it was told to."""

    def __init__(self, *hits: tuple[int, float]) -> None:
        self.hits = hits
        self.asked: list[str] = []
        self.failure: GatewayError | None = None

    async def search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:  # noqa: ARG002
        """Return the hits."""
        self.asked.append(index)
        if self.failure is not None:
            raise self.failure
        return self.hits[:limit]


class FakeIndices:
    """Implements what retrieval needs of `VectorIndex`: each collection, agent and chat has an index of its own.

    An index finds what it was told to, raises what it was told to, or never answers where it was told None.
    """

    def __init__(self, told: Mapping[uuid.UUID, Sequence[tuple[int, float]] | Exception | None]) -> None:
        self.told = told
        self.given_up = 0

    async def search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:  # noqa: ARG002
        """Return the hits of this index."""
        name = parse_index_name(index)
        assert name is not None
        told = self.told.get(name.scope, ())
        if isinstance(told, Exception):
            raise told
        if told is not None:
            return told[:limit]
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1
        raise AssertionError
