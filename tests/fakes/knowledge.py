"""A provider that makes vectors, and documents as ingestion leaves them in the database."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select

from backend.core.db.database import Database
from backend.features.accounts.models import Role, User
from backend.features.knowledge.chunking import Chunk as Passage
from backend.features.knowledge.models import Chunk, Collection, Document
from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.types import Embeddings, EmbedRequest
from tests.fakes.providers import info

Failure = BaseException | None


@dataclass
class VectorProvider:
    """Implements `Embedder` and `ModelLister`: a text always has the same vector, which depends on its words."""

    models: Sequence[ModelInfo] | BaseException = (info("mistral-embed", Capability.EMBEDDING),)
    dimensions: int = 32
    seed: int = 0
    failures: list[Failure] = field(default_factory=list)
    """What the next calls raise; None lets one pass."""
    asked: list[Sequence[str]] = field(default_factory=list)
    given: Sequence[Sequence[float]] | None = None
    most: int = 10_000
    """Texts of one call above which it is refused as too much, by `refusal`."""
    refusal: BaseException | None = None

    async def list_models(self) -> Sequence[ModelInfo]:
        if isinstance(self.models, BaseException):
            raise self.models
        return self.models

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.asked.append(request.inputs)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if self.refusal is not None and len(request.inputs) > self.most:
            raise self.refusal
        made = self.given if self.given is not None else [self.vector(text) for text in request.inputs]
        return Embeddings(made, 1)

    def vector(self, text: str) -> list[float]:
        words = [word.strip(".,:;").lower() for word in text.split()]
        total = np.zeros(self.dimensions)
        for word in words or [""]:
            digest = hashlib.sha256(f"{self.seed} {word}".encode()).digest()
            total += np.random.default_rng(int.from_bytes(digest[:8])).normal(size=self.dimensions)
        return [float(number) for number in total]


async def add_owner(database: Database) -> uuid.UUID:
    """Make an account; return its id."""
    async with database.transaction() as session:
        role = (await session.execute(select(Role).limit(1))).scalars().first()
        if role is None:
            role = Role(name="user", permissions=[])
            session.add(role)
            await session.flush()
        name = uuid.uuid4().hex
        user = User(email=f"{name}@example.org", name="Ada", trigramme=name[:3], role_id=role.id)
        session.add(user)
        await session.flush()
        return user.id


async def add_collection(database: Database, owner: uuid.UUID) -> uuid.UUID:
    """Make a collection; return its id."""
    async with database.transaction() as session:
        collection = Collection(name=uuid.uuid4().hex, owner_id=owner)
        session.add(collection)
        await session.flush()
        return collection.id


async def add_document(
    database: Database, owner: uuid.UUID, collection: uuid.UUID | None, texts: Sequence[str], **rows: object
) -> uuid.UUID:
    """Make a document with these passages; in a chat when it is in no collection; return its id."""
    is_live = bool(rows.get("is_live", True))
    chat = None if collection is not None else uuid.uuid4()
    async with database.transaction() as session:
        document = Document(
            owner_id=owner,
            collection_id=collection,
            chat_id=chat,
            filename="some_notes.txt",
            mime_type="text/plain",
            file_size=1,
            sha256="0" * 64,
        )
        session.add(document)
        await session.flush()
        for ordinal, text in enumerate(texts):
            searched = Passage(ordinal, text, (), 1, 1, 0).searched("some notes")
            session.add(
                Chunk(
                    document_id=document.id,
                    version=1,
                    ordinal=ordinal,
                    collection_id=collection,
                    chat_id=chat,
                    is_live=is_live,
                    text=text,
                    headings=[],
                    first_page=1,
                    last_page=1,
                    start=0,
                    text_hash=hashlib.sha256(searched.encode()).digest(),
                    language="en",
                )
            )
        return document.id
