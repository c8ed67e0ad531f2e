"""The bodies of the routes for collections and documents."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from backend.features.knowledge.collection_service import CollectionDraft, CollectionView
from backend.features.knowledge.document_service import DocumentView
from backend.features.knowledge.entities import EntityKind, entity_of
from backend.features.knowledge.models import Document
from backend.web.side_api import Body, Reply

_MAX_ROLES = 100


def _check_text(text: str) -> str:
    """Refuse NUL and halves of characters: no store keeps them."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("a text holds NUL or half of a character, which cannot be kept; leave it out")
    return text


Text = Annotated[str, AfterValidator(_check_text)]


class CollectionWrite(Body):
    """A collection as its owner wants it; what is not said takes its default."""

    name: Text = Field(min_length=1, max_length=100)
    description: Text = Field("", max_length=500)
    is_public: bool = Field(default=False, description="Whether everybody may search it.")
    role_ids: list[uuid.UUID] = Field(
        default_factory=list, max_length=_MAX_ROLES, description="Roles whose members may search it."
    )

    def draft(self) -> CollectionDraft:
        """Return what is asked for."""
        return CollectionDraft(self.name, self.description, self.is_public, frozenset(self.role_ids))


class CollectionRead(Reply):
    """A collection; its shares are null for those it is shared with."""

    id: uuid.UUID
    name: str
    description: str
    owner_id: uuid.UUID
    is_public: bool
    role_ids: list[uuid.UUID] | None
    is_writable: bool
    created_at: datetime
    updated_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _from_view(cls, view: Any) -> Any:
        if not isinstance(view, CollectionView):
            return view
        collection = view.collection
        return {
            **_columns(cls, collection),
            "is_writable": view.is_writable,
            "role_ids": [share.role_id for share in collection.shares] if view.is_writable else None,
        }


class DocumentRead(Reply):
    """A document and how far it is."""

    id: uuid.UUID
    owner_id: uuid.UUID | None
    entity_type: EntityKind | None
    entity_id: uuid.UUID | None
    filename: str
    mime_type: str
    file_size: int
    sha256: str
    version: int
    ready_version: int | None
    """The version that is searched."""
    status: str
    stage: str
    """The last stage that is done."""
    progress: int
    error: str | None
    notice: str | None
    """What a document that is searched still lacks, and why: it comes by itself."""
    language: str | None
    page_count: int | None
    chunk_count: int | None
    is_writable: bool
    created_at: datetime
    updated_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _from_view(cls, view: Any) -> Any:
        document = view.document if isinstance(view, DocumentView) else view
        if not isinstance(document, Document):
            return view
        entity = entity_of(document)
        return {
            **_columns(cls, document),
            "entity_type": None if entity is None else entity.kind,
            "entity_id": None if entity is None else entity.id,
            "is_writable": not isinstance(view, DocumentView) or view.is_writable,
        }


class VersionRead(Reply):
    """One file of a document."""

    version: int
    filename: str
    mime_type: str
    file_size: int
    sha256: str
    created_at: datetime


class ChunkRead(Reply):
    """A passage that is searched."""

    ordinal: int
    text: str
    headings: list[str]
    first_page: int
    last_page: int
    start: int
    language: str


def _columns(reply: type[Reply], row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in reply.model_fields if hasattr(row, name)}
