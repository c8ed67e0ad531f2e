"""The tables of knowledge: collections, documents and their versions, passages, vectors, and the work still due.

They are the record: an index of vectors can be lost and is built anew from here. Keyword indices are the database's
own, made by the migration (`keyword_search.py`).
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.core.db.tables import Dated, Row, Table, utc_now

Number = BigInteger().with_variant(Integer, "sqlite")


class Collection(Dated, Row):
    """A set of documents with one owner, shared with roles or everybody."""

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str] = mapped_column(String(500), default="")
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    is_public: Mapped[bool] = mapped_column(default=False, index=True)
    shares: Mapped[list["CollectionShare"]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="CollectionShare.role_id"
    )


class CollectionShare(Table):
    """A role whose members may search a collection."""

    __tablename__ = "collection_shares"

    collection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)


class AgentCollection(Table):
    """A collection that an agent answers from."""

    __tablename__ = "agent_collections"

    agent_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True)
    collection_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Document(Dated, Row):
    """A document in a collection, of an agent or of a chat: one of the three columns is filled.

    Once that is gone, or its owner, the row says so by what it lacks: it is to be removed, its files with it.
    """

    __tablename__ = "documents"
    __table_args__ = (Index(None, "owner_id", "sha256"),)

    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    """The owner of what it is in."""
    collection_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("collections.id", ondelete="SET NULL"), index=True, default=None
    )
    agent_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("agents.id", ondelete="SET NULL"), index=True, default=None
    )
    chat_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, index=True, default=None)
    filename: Mapped[str] = mapped_column(String(255))
    """What its owner calls it; a text to show, never a path."""
    mime_type: Mapped[str] = mapped_column(String(100))
    """Found from its bytes."""
    file_size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(default=1)
    """The newest version."""
    ready_version: Mapped[int | None] = mapped_column(default=None)
    """The version that is searched; None until the first is ready."""
    status: Mapped[str] = mapped_column(String(12), default="queued", index=True)
    """uploading, queued, running, ready, failed, cancelled or deleting: of the newest version."""
    stage: Mapped[str] = mapped_column(String(12), default="uploaded")
    """The last stage that is done: uploaded, extracted, chunked, embedded, indexed, switched."""
    progress: Mapped[int] = mapped_column(default=0)
    """Percent of the stage that runs."""
    error: Mapped[str | None] = mapped_column(String(500), default=None)
    """What its owner can do about it."""
    notice: Mapped[str | None] = mapped_column(String(500), default=None)
    """What is still missing of a document that is searched: vectors, which are made once their embedder is back."""
    language: Mapped[str | None] = mapped_column(String(8), default=None)
    page_count: Mapped[int | None] = mapped_column(default=None)
    chunk_count: Mapped[int | None] = mapped_column(default=None)
    attempts: Mapped[int] = mapped_column(default=0)
    leased_until: Mapped[datetime | None] = mapped_column(default=None, index=True)
    """Until when a process works on it; past that another takes over."""
    leased_by: Mapped[uuid.UUID | None] = mapped_column(Uuid, default=None)
    """Which claim that is; every claim has an id of its own."""
    not_before: Mapped[datetime | None] = mapped_column(default=None)
    """When the next attempt is due."""


class DocumentVersion(Table):
    """One uploaded file of a document."""

    __tablename__ = "document_versions"

    document_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(String(255))
    mime_type: Mapped[str] = mapped_column(String(100))
    file_size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    blob_key: Mapped[str] = mapped_column(String(80))
    """Where the file lies in the blob store; made of ids alone."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Chunk(Table):
    """A passage of one version of a document; `number` is what the keyword index knows it by."""

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("document_id", "version", "ordinal"),
        Index(None, "collection_id"),
        Index(None, "agent_id"),
        Index(None, "chat_id"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    """Never given twice: an index of vectors may still know a passage that is gone."""
    document_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    version: Mapped[int]
    ordinal: Mapped[int]
    collection_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, default=None)
    """The document's, as are the next two: what is searched is chosen without a join."""
    agent_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, default=None)
    chat_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, default=None)
    is_live: Mapped[bool] = mapped_column(default=False)
    """Whether its version is the one that is searched."""
    text: Mapped[str] = mapped_column(Text)
    headings: Mapped[list[Any]] = mapped_column(default=list)
    first_page: Mapped[int]
    last_page: Mapped[int]
    start: Mapped[int]
    """Characters before it in the document's text."""
    text_hash: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    """SHA-256 of what is embedded: title, headings and text."""
    language: Mapped[str] = mapped_column(String(8))


class Vector(Table):
    """The vector of a text, by the embedder that made it; texts that are the same share one."""

    __tablename__ = "vectors"

    fingerprint: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Of the embedder: provider, model, dimensions, prefixes."""
    text_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    """Little-endian float32, at length one."""


class Embedding(Table):
    """An embedder that was used; one of them is current."""

    __tablename__ = "embedders"

    fingerprint: Mapped[str] = mapped_column(String(16), primary_key=True)
    provider: Mapped[str] = mapped_column(String(60))
    model: Mapped[str] = mapped_column(String(200))
    dimensions: Mapped[int]
    is_current: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
