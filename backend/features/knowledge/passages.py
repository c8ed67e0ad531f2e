"""Pages -> rows of passages with their keywords; what takes time runs in threads."""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.extraction.pages import Page
from backend.features.knowledge.chunking import Chunk, split_pages
from backend.features.knowledge.composed import composed
from backend.features.knowledge.keyword_search import add_terms
from backend.features.knowledge.languages import Language
from backend.features.knowledge.models import Chunk as ChunkRow
from backend.features.knowledge.models import Document, Vector
from backend.features.knowledge.terms import index_terms, language_of

_ENOUGH = 20_000
_UNSEEN = re.compile(
    "[\x00\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f\ud800-\udfff]"
)
"""Characters that show nothing, turn text around or cannot be kept; whoever writes with them hides something."""


@dataclass(frozen=True, slots=True)
class Passages:
    """A document cut up."""

    chunks: Sequence[Chunk]
    language: Language


def write_page(out: BinaryIO, page: Page) -> None:
    """Write a page as one line, its text in the form that is kept."""
    text = _UNSEEN.sub("", composed("NFC", page.text))
    out.write(json.dumps({"number": page.number, "text": text}).encode() + b"\n")


def cut_pages(path: Path) -> Passages:
    """Return the passages of a file of pages."""
    with path.open("rb") as file:
        pages = [Page(told["number"], told["text"]) for told in map(json.loads, file)]
    return Passages(split_pages(pages), language_of(_beginning(pages)))


def _beginning(pages: Sequence[Page]) -> str:
    text = ""
    for page in pages:
        text += page.text[:_ENOUGH] + "\n"
        if len(text) >= _ENOUGH:
            break
    return text


@dataclass(frozen=True, slots=True)
class Rows:
    """Passages as they are written."""

    chunks: Sequence[dict[str, Any]]
    terms: Mapping[int, tuple[str, str]]
    """By ordinal: those of title and headings, those of the text."""


def make_rows(chunks: Sequence[Chunk], title: str, language: Language, common: Mapping[str, Any]) -> Rows:
    """Return the rows of some passages; `common` holds what all rows of a document share."""
    rows = [
        {
            **common,
            "ordinal": chunk.ordinal,
            "text": chunk.text,
            "headings": list(chunk.headings),
            "first_page": chunk.first_page,
            "last_page": chunk.last_page,
            "start": chunk.start,
            "text_hash": hashlib.sha256(chunk.searched(title).encode()).digest(),
            "language": language.value,
            "is_live": False,
        }
        for chunk in chunks
    ]
    return Rows(rows, {chunk.ordinal: _terms(chunk, title, language) for chunk in chunks})


def _terms(chunk: Chunk, title: str, language: Language) -> tuple[str, str]:
    above = "\n".join([title, *chunk.headings])
    return " ".join(index_terms(above, language)), " ".join(index_terms(chunk.text, language))


async def add_rows(session: AsyncSession, rows: Rows) -> None:
    """Write passages together with their keywords."""
    statement = insert(ChunkRow).returning(ChunkRow.number, ChunkRow.ordinal)
    made = (await session.execute(statement, list(rows.chunks))).all()
    terms = [{"number": n, "title": rows.terms[o][0], "body": rows.terms[o][1]} for n, o in made]
    await session.run_sync(lambda inner: add_terms(inner.connection(), terms))


async def drop_rows(session: AsyncSession, document_id: uuid.UUID, *, version: int | None = None) -> None:
    """Remove a document's passages, or those of one version."""
    statement = delete(ChunkRow).where(ChunkRow.document_id == document_id)
    if version is not None:
        statement = statement.where(ChunkRow.version == version)
    await session.execute(statement)


async def drop_vectors(session: AsyncSession, document_id: uuid.UUID) -> None:
    """Remove the vectors of a document's passages, but for texts that others hold too."""
    hashes = select(ChunkRow.text_hash).where(ChunkRow.document_id == document_id)
    others = exists().where(ChunkRow.text_hash == Vector.text_hash, ChunkRow.document_id != document_id)
    statement = delete(Vector).where(Vector.text_hash.in_(hashes), ~others)
    await session.execute(statement.execution_options(synchronize_session=False))


async def keep_only(session: AsyncSession, document_id: uuid.UUID, version: int) -> None:
    """Remove the passages of all versions but one."""
    await session.execute(delete(ChunkRow).where(ChunkRow.document_id == document_id, ChunkRow.version != version))


async def make_live(session: AsyncSession, document_id: uuid.UUID, version: int | None) -> None:
    """Let one version be searched and no other."""
    of_document = update(ChunkRow).where(ChunkRow.document_id == document_id)
    await session.execute(of_document.where(ChunkRow.is_live).values(is_live=False))
    if version is not None:
        await session.execute(of_document.where(ChunkRow.version == version).values(is_live=True))


async def place_of(session: AsyncSession, document_id: uuid.UUID) -> Mapping[str, Any]:
    """Return what a document is in, as its passages repeat it."""
    columns = (Document.collection_id, Document.agent_id, Document.chat_id)
    row = (await session.execute(select(*columns).where(Document.id == document_id))).one()
    return dict(row._mapping)  # noqa: SLF001 (the public way to a row's names)


def batches(chunks: Sequence[Chunk], size: int) -> Iterator[Sequence[Chunk]]:
    """Yield passages in pieces."""
    for start in range(0, len(chunks), size):
        yield chunks[start : start + size]
