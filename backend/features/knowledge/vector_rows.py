"""The queries of vectors: which passages have none, what an index holds, which embedder is current."""

import uuid
from collections.abc import AsyncIterator, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVarTuple

from sqlalchemy import Connection, Select, and_, column, delete, exists, func, select, table, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from backend.core.db.database import Database
from backend.features.knowledge.chunking import Chunk as Passage
from backend.features.knowledge.index_names import IndexName, parse_index_name
from backend.features.knowledge.models import Chunk, Document, Embedding, Vector
from backend.features.knowledge.names import title_of
from backend.features.knowledge.ports import Fingerprint

Columns = TypeVarTuple("Columns")

_memories = table("memories", column("number"))

PAGE = 256
"""Rows that are read or written at once."""


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A text that has no vector yet."""

    text_hash: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Indexed:
    """A passage with its vector, and the scope it is found in."""

    number: int
    index: str
    vector: bytes


class VectorRows:
    """Reads and writes vectors; what an index is of is told by its name. Implements the source of exact search."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def without_vector(
        self,
        fingerprint: str,
        limit: int,
        document: tuple[uuid.UUID, int] | None = None,
        but: Collection[bytes] = (),
    ) -> Sequence[Unembedded]:
        """Return texts that this embedder made no vector of: of a version of a document, or of all that is live.

        Those with the hashes `but` are left out.
        """
        made = exists().where(Vector.fingerprint == fingerprint, Vector.text_hash == Chunk.text_hash)
        columns = (Chunk.text_hash, Chunk.text, Chunk.headings, Document.filename)
        chosen = select(*columns).join(Document, Document.id == Chunk.document_id).where(~made, _part(document))
        chosen = chosen.where(Chunk.text_hash.not_in(but)) if but else chosen
        async with self._database.reading() as reading:
            found = (await reading.execute(chosen.order_by(Chunk.number).limit(limit))).all()
        return list({row.text_hash: Unembedded(row.text_hash, _searched(row)) for row in found}.values())

    async def count_without_vector(self, fingerprint: str, document: tuple[uuid.UUID, int] | None = None) -> int:
        """Return of how many passages there is no vector."""
        made = exists().where(Vector.fingerprint == fingerprint, Vector.text_hash == Chunk.text_hash)
        async with self._database.reading() as reading:
            counted = select(func.count()).select_from(Chunk).where(~made, _part(document))
            return await reading.scalar(counted) or 0

    async def keep(self, fingerprint: str, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep vectors by the hash of their text; what is there already stays."""
        rows = [{"fingerprint": fingerprint, "text_hash": key, "data": data} for key, data in vectors]
        if rows:
            await self._database.in_one(lambda connection: _insert_new(connection, rows))

    async def of_version(self, fingerprint: str, document_id: uuid.UUID, version: int) -> Sequence[Indexed]:
        """Return the passages of a version that have vectors."""
        wanted = _with_vectors(fingerprint).where(Chunk.document_id == document_id, Chunk.version == version)
        async with self._database.reading() as reading:
            return [_indexed(row, fingerprint) for row in (await reading.execute(wanted)).all()]

    async def numbers_of(self, document_id: uuid.UUID, but: int | None) -> Sequence[tuple[int, IndexName]]:
        """Return the passages of all versions of a document but one, and the scope of each; the embedder left open."""
        columns = (Chunk.number, Chunk.collection_id, Chunk.agent_id, Chunk.chat_id)
        wanted = select(*columns).where(Chunk.document_id == document_id)
        wanted = wanted if but is None else wanted.where(Chunk.version != but)
        async with self._database.reading() as reading:
            found = (await reading.execute(wanted)).all()
        return [(row.number, _name(row, "")) for row in found]

    async def scopes(self, fingerprint: str) -> Sequence[str]:
        """Return the indices of collections that should be there: those with live passages."""
        live = select(Chunk.collection_id).where(Chunk.is_live, Chunk.collection_id.is_not(None)).distinct()
        async with self._database.reading() as reading:
            found = (await reading.execute(live)).scalars().all()
        return sorted(str(IndexName("kb", scope, fingerprint)) for scope in found if scope is not None)

    async def counts(self, index: str) -> tuple[int, int]:
        """Return how many passages of an index are live, and how many there are in all, both with vectors."""
        every = func.count()
        name = _known(index)
        counted = select(every, every.filter(Chunk.is_live))
        async with self._database.reading() as reading:
            row = (await reading.execute(_joined(counted, name).where(_in_scope(name)))).one()
        return int(row[1]), int(row[0])

    async def random_numbers(self, index: str, limit: int) -> Sequence[int]:
        """Return some of the live passages of an index."""
        name = _known(index)
        wanted = _joined(select(Chunk.number), name).where(_in_scope(name), Chunk.is_live)
        async with self._database.reading() as reading:
            return list((await reading.execute(wanted.order_by(func.random()).limit(limit))).scalars().all())

    async def stamp(self, index: str) -> tuple[int, Hashable]:
        """See `VectorSource.stamp`; no number is used twice."""
        name = _known(index)
        counted = select(func.count(), func.max(Chunk.number), func.sum(Chunk.number))
        async with self._database.reading() as reading:
            told = _joined(counted, name).where(_in_scope(name), Chunk.is_live)
            row = (await reading.execute(told)).one()
        return row[0], (row[1], row[2])

    async def rows(self, index: str, *, is_live: bool = True) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """See `VectorSource.rows`; those of passages that are not live too if wanted, in the order of their numbers."""
        name, last = _known(index), 0
        while True:
            chosen = select(Chunk.number, Vector.data)
            wanted = _joined(chosen, name).where(_in_scope(name), Chunk.number > last)
            wanted = wanted.where(Chunk.is_live) if is_live else wanted
            async with self._database.reading() as reading:
                page = [
                    (row.number, row.data)
                    for row in (await reading.execute(wanted.order_by(Chunk.number).limit(PAGE))).all()
                ]
            if not page:
                return
            yield page
            last = page[-1][0]

    async def names(self) -> Sequence[str]:
        """See `VectorSource.names`."""
        current = await self.current()
        return () if current is None else await self.scopes(current.value)

    async def current(self) -> Fingerprint | None:
        """Return the embedder whose vectors are searched."""
        async with self._database.reading() as reading:
            row = (await reading.execute(select(Embedding).where(Embedding.is_current))).scalars().first()
        return None if row is None else Fingerprint(row.fingerprint, row.provider, row.model, row.dimensions)

    async def noticed(self) -> Sequence[tuple[uuid.UUID, int]]:
        """Return the versions that are searched and said to lack something."""
        lacking = select(Document.id, Document.version).where(
            Document.notice.is_not(None), Document.status == "ready", Document.ready_version == Document.version
        )
        async with self._database.reading() as reading:
            return [(row.id, row.version) for row in (await reading.execute(lacking.order_by(Document.id))).all()]

    async def forget_notice(self, document_id: uuid.UUID, version: int) -> None:
        """Say no more that a version lacks something."""
        ours = and_(Document.id == document_id, Document.version == version, Document.status == "ready")
        async with self._database.transaction() as session:
            told = update(Document).where(ours).values(notice=None)
            await session.execute(told.execution_options(synchronize_session=False))

    async def has_passages(self) -> bool:
        """Whether there is anything to find: passages, or what agents remember."""
        some = (select(Chunk.number).where(Chunk.is_live).limit(1), select(_memories.c.number).limit(1))
        async with self._database.reading() as reading:
            return any([(await reading.execute(one)).first() is not None for one in some])

    async def make_current(self, fingerprint: Fingerprint) -> None:
        """Search the vectors of this embedder from now on, and of no other; in one transaction."""
        async with self._database.transaction() as session:
            await session.execute(update(Embedding).values(is_current=False))
            if await session.get(Embedding, fingerprint.value) is None:
                session.add(
                    Embedding(
                        fingerprint=fingerprint.value,
                        provider=fingerprint.provider,
                        model=fingerprint.model,
                        dimensions=fingerprint.dimensions,
                        is_current=True,
                    )
                )
            else:
                ours = Embedding.fingerprint == fingerprint.value
                await session.execute(update(Embedding).where(ours).values(is_current=True))

    async def drop_others(self, kept: Sequence[str]) -> None:
        """Remove the vectors of all embedders but these, and what no passage has any more."""
        gone = ~exists().where(Chunk.text_hash == Vector.text_hash)
        for wanted in (Vector.fingerprint.not_in(kept), gone):
            async with self._database.transaction() as session:
                await session.execute(delete(Vector).where(wanted).execution_options(synchronize_session=False))
        async with self._database.transaction() as session:
            old = and_(Embedding.fingerprint.not_in(kept), ~Embedding.is_current)
            await session.execute(delete(Embedding).where(old))


def _part(document: tuple[uuid.UUID, int] | None) -> ColumnElement[bool]:
    if document is None:
        return Chunk.is_live.is_(True)
    return and_(Chunk.document_id == document[0], Chunk.version == document[1])


def _searched(row: Any) -> str:
    return Passage(0, row.text, tuple(map(str, row.headings)), 0, 0, 0).searched(title_of(row.filename))


def _insert_new(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(Vector).on_conflict_do_nothing(), rows)


def _joined(statement: Select[*Columns], name: IndexName) -> Select[*Columns]:
    """Return a query of passages with their vectors."""
    made = and_(Vector.text_hash == Chunk.text_hash, Vector.fingerprint.startswith(name.fingerprint))
    return statement.select_from(Chunk).join(Vector, made)


def _with_vectors(fingerprint: str) -> Select[int, uuid.UUID | None, uuid.UUID | None, uuid.UUID | None, bytes]:
    columns = (Chunk.number, Chunk.collection_id, Chunk.agent_id, Chunk.chat_id, Vector.data)
    made = and_(Vector.text_hash == Chunk.text_hash, Vector.fingerprint == fingerprint)
    chosen = select(*columns)
    return chosen.select_from(Chunk).join(Vector, made)


def _in_scope(name: IndexName) -> ColumnElement[bool]:
    column = {"kb": Chunk.collection_id, "agent": Chunk.agent_id, "chat": Chunk.chat_id}[name.kind]
    return column == name.scope


def _known(index: str) -> IndexName:
    name = parse_index_name(index)
    if name is None:
        raise ValueError(f"{index!r} names no index")
    return name


def _name(row: Any, fingerprint: str) -> IndexName:
    if row.collection_id is not None:
        return IndexName("kb", row.collection_id, fingerprint)
    if row.agent_id is not None:
        return IndexName("agent", row.agent_id, fingerprint)
    return IndexName("chat", row.chat_id, fingerprint)


def _indexed(row: Any, fingerprint: str) -> Indexed:
    return Indexed(row.number, str(_name(row, fingerprint)), row.data)
