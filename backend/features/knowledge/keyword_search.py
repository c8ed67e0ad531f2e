"""Keyword search in the database itself: FTS5 on SQLite, `tsvector` on PostgreSQL, over terms made here.

Both are given the same terms (`terms.py`), so neither stems or folds by itself. The index of a passage lives with its
row in `chunks`: it is written with it and goes with it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    String,
    bindparam,
    column,
    func,
    literal_column,
    select,
    table,
    text,
)

from backend.core.db.database import Transaction
from backend.features.knowledge.models import Chunk
from backend.features.knowledge.word_tables import WordTable

TITLE_WEIGHT = 1.5
"""How much more a word in a title or heading tells than one in the text (measured: `make bench-rag`)."""


WORDS = WordTable("chunk_terms", "chunks", ("title", "body"), ("title", "body"))

_ADD = {
    "sqlite": "insert into chunk_terms(rowid, title, body) values (:number, :title, :body)",
    "postgresql": "insert into chunk_terms(number, terms) values (:number, "
    "setweight(to_tsvector('simple', :title), 'A') || setweight(to_tsvector('simple', :body), 'D'))",
}


def add_terms(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Index passages: `number`, and their terms with a space between as `title` and `body`."""
    if rows:
        connection.execute(text(_ADD[connection.dialect.name]), rows)


_VOCABULARY = "create virtual table chunk_terms_vocabulary using fts5vocab(chunk_terms, row)"


def vocabulary(dialect: str) -> Sequence[str]:
    """Return the statements that make what tells how many passages a term is in."""
    return () if dialect == "postgresql" else (_VOCABULARY,)


_index = table("chunk_terms", column("rowid", Integer), column("number", Integer), column("terms"))
_WANTED = func.to_tsquery(literal_column("'simple'"), bindparam("wanted", type_=String))
_WEIGHTS: ColumnElement[str] = literal_column(f"'{{{1 / TITLE_WEIGHT:.3f}, 1, 1, 1}}'::float4[]")
_SCORES: Mapping[str, ColumnElement[float]] = {
    "sqlite": literal_column(f"-bm25(chunk_terms, {TITLE_WEIGHT}, 1.0)", Float),
    "postgresql": func.ts_rank_cd(_WEIGHTS, _index.c.terms, _WANTED, 1, type_=Float),
}
_MATCHES: Mapping[str, ColumnElement[bool]] = {
    "sqlite": literal_column("chunk_terms").op("match", is_comparison=True)(bindparam("wanted", type_=String)),
    "postgresql": _index.c.terms.op("@@", is_comparison=True)(_WANTED),
}
_FREQUENCIES = {
    "sqlite": "select term, doc from chunk_terms_vocabulary where term in :terms",
    "postgresql": "select term, (select count(*) from chunk_terms where terms @@ to_tsquery('simple', term)) "
    "from unnest(cast(:terms as text[])) as term",
}


async def search(
    session: Transaction, terms: Collection[str], where: ColumnElement[bool], limit: int
) -> dict[int, float]:
    """Return the passages that hold any of the terms, best first, with scores that are higher for better ones.

    Args:
        session: to ask in.
        terms: as `terms.py` makes them.
        where: the condition on passages (`scopes.searched`).
        limit: passages at most.
    """
    if not terms:
        return {}
    dialect = session.get_bind().dialect.name
    key = _index.c.number if dialect == "postgresql" else _index.c.rowid
    score = _SCORES[dialect].label("score")
    quote, either = ("'", " | ") if dialect == "postgresql" else ('"', " OR ")
    statement = (
        select(Chunk.number, score)
        .select_from(_index.join(Chunk, Chunk.number == key))
        .where(_MATCHES[dialect], where)
        .order_by(score.desc(), Chunk.number)
        .limit(limit)
    )
    rows = await session.execute(statement, {"wanted": either.join(f"{quote}{term}{quote}" for term in terms)})
    return {number: float(found) for number, found in rows}


async def frequencies(session: Transaction, terms: Collection[str]) -> dict[str, int]:
    """Return in how many passages each term is, of all passages there are."""
    dialect = session.get_bind().dialect.name
    if dialect == "postgresql":
        rows = await session.execute(text(_FREQUENCIES[dialect]), {"terms": list(terms)})
    else:
        listed = text(_FREQUENCIES[dialect]).bindparams(bindparam("terms", expanding=True))
        rows = await session.execute(listed, {"terms": list(terms)})
    counted = {str(term): int(count) for term, count in rows}
    return {term: counted.get(term, 0) for term in terms}
