"""The words of memories in the database itself: FTS5 on SQLite, `tsvector` on PostgreSQL, as for passages.

The terms are those of `knowledge.terms`. On SQLite whose memory it is stands as a word of its own in the index, so
that others' matches are not even read; how often a term is there is counted among one's own memories alone.
"""

import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

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
from backend.features.knowledge.terms import index_terms, language_of
from backend.features.knowledge.word_tables import WordTable
from backend.features.memory.models import Memory

MAX_TERMS = 64
"""Of one question that are counted and looked for."""
_QUESTION_WEIGHT = 1.5
_SPARE = 4
"""How many more are ranked than are wanted: those of the same chat drop out."""


class Whose(NamedTuple):
    """Whose memories are searched: of one user with one agent."""

    user_id: uuid.UUID
    agent_id: uuid.UUID

    @property
    def word(self) -> str:
        """How SQLite's index knows them."""
        return self.user_id.hex + self.agent_id.hex


WORDS = WordTable("memory_terms", "memories", ("owner", "question", "answer"), ("question", "answer"))

_ADD = {
    "sqlite": "insert into memory_terms(rowid, owner, question, answer) values (:number, :owner, :question, :answer)",
    "postgresql": "insert into memory_terms(number, terms) values (:number, "
    "setweight(to_tsvector('simple', :question), 'A') || setweight(to_tsvector('simple', :answer), 'D'))",
}
_COUNT_ONE = "select '{at}', count(*) from memory_terms where memory_terms match :term_{at}"
_COUNT_ALL = (
    "select term, (select count(*) from memory_terms t join memories m on m.number = t.number "
    "where m.user_id = :user_id and m.agent_id = :agent_id and t.terms @@ plainto_tsquery('simple', term)) "
    "from unnest(cast(:terms as text[])) as term"
)
_WANTED = func.to_tsquery(literal_column("'simple'"), bindparam("wanted", type_=String))
_index = table("memory_terms", column("rowid", Integer), column("number", Integer), column("terms"))
_MATCHES: ColumnElement[bool] = literal_column("memory_terms").op("match", is_comparison=True)(
    bindparam("wanted", type_=String)
)
_WEIGHTS: ColumnElement[str] = literal_column(f"'{{{1 / _QUESTION_WEIGHT:.3f}, 1, 1, 1}}'::float4[]")


def add_terms(connection: Connection, number: int, whose: Whose, question: str, answer: str) -> None:
    """Index one memory."""
    language = language_of(f"{question}\n{answer}")
    values: dict[str, Any] = {
        "number": number,
        "question": " ".join(index_terms(question, language)),
        "answer": " ".join(index_terms(answer, language)),
    }
    dialect = connection.dialect.name
    connection.execute(text(_ADD[dialect]), values if dialect == "postgresql" else {**values, "owner": whose.word})


async def search(
    session: Transaction, whose: Whose, terms: Collection[str], where: ColumnElement[bool], limit: int
) -> list[int]:
    """Return the numbers of the memories that hold any of the terms, best first.

    Args:
        session: to ask in.
        whose: whose memories.
        terms: as `knowledge.terms` makes them.
        where: the whole condition on memories, rights included.
        limit: memories at most.
    """
    if not terms:
        return []
    if session.get_bind().dialect.name == "postgresql":
        score: ColumnElement[float] = func.ts_rank_cd(_WEIGHTS, _index.c.terms, _WANTED, 1, type_=Float)
        ranked = (
            select(_index.c.number, score.label("score"))
            .join(Memory, Memory.number == _index.c.number)
            .where(Memory.user_id == whose.user_id, Memory.agent_id == whose.agent_id)
            .where(_index.c.terms.op("@@", is_comparison=True)(_WANTED))
        )
        wanted = " | ".join(f"'{term}'" for term in terms)
    else:
        score = literal_column(f"-bm25(memory_terms, 0.0, {_QUESTION_WEIGHT}, 1.0)", Float)
        ranked = select(_index.c.rowid.label("number"), score.label("score")).where(_MATCHES)
        wanted = _of(whose, terms)
    best = ranked.order_by(score.desc()).limit(limit * _SPARE).subquery()
    statement = (
        select(Memory.number)
        .join(best, best.c.number == Memory.number)
        .where(where)
        .order_by(best.c.score.desc(), Memory.number.desc())
        .limit(limit)
    )
    return list(await session.scalars(statement, {"wanted": wanted}))


async def frequencies(session: Transaction, whose: Whose, terms: Sequence[str]) -> dict[str, int]:
    """Return in how many of somebody's memories each term is."""
    if not terms:
        return {}
    if session.get_bind().dialect.name == "postgresql":
        rows = await session.execute(
            text(_COUNT_ALL), {"terms": list(terms), "user_id": whose.user_id, "agent_id": whose.agent_id}
        )
        return {str(term): int(count) for term, count in rows}
    counted = " union all ".join(_COUNT_ONE.format(at=at) for at in range(len(terms)))
    rows = await session.execute(text(counted), {f"term_{at}": _of(whose, [term]) for at, term in enumerate(terms)})
    return {terms[int(at)]: int(count) for at, count in rows}


def _of(whose: Whose, terms: Collection[str]) -> str:
    """Return FTS5's form of a query for one's own memories that hold any of the terms."""
    wanted = " OR ".join(f'"{term}"' for term in terms)
    return f'owner : "{whose.word}" AND {{question answer}} : ({wanted})'
