"""Keyword search in the database itself: FTS5 on SQLite, `tsvector` on PostgreSQL, over terms made here.

Both are given the same terms (`terms.py`), so neither stems or folds by itself. The index of a passage lives with its
row in `chunks`: it is written with it and goes with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

TITLE_WEIGHT = 1.5
"""How much more a word in a title or heading tells than one in the text (measured: `make bench-rag`)."""


def sqlite_index() -> Sequence[str]:
    """Return the statements that make the index on SQLite."""
    removal = "begin delete from chunk_terms where rowid = old.number; end"
    return (
        "create virtual table chunk_terms using fts5(title, body)",
        f"create trigger chunk_terms_go after delete on chunks {removal}",
    )


def postgresql_index() -> Sequence[str]:
    """Return the statements that make the index on PostgreSQL."""
    number = "number bigint primary key references chunks(number) on delete cascade"
    return (
        f"create table chunk_terms ({number}, terms tsvector not null)",
        "create index ix_chunk_terms on chunk_terms using gin (terms)",
    )


def drop_index(dialect: str) -> Sequence[str]:
    """Return the statements that remove the index."""
    table = "drop table chunk_terms"
    return (table,) if dialect == "postgresql" else ("drop trigger chunk_terms_go", table)


_ADD = {
    "sqlite": "insert into chunk_terms(rowid, title, body) values (:number, :title, :body)",
    "postgresql": "insert into chunk_terms(number, terms) values (:number, "
    "setweight(to_tsvector('simple', :title), 'A') || setweight(to_tsvector('simple', :body), 'D'))",
}


def add_terms(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Index passages: `number`, and their terms with a space between as `title` and `body`."""
    if rows:
        connection.execute(text(_ADD[connection.dialect.name]), rows)
