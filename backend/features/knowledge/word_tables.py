"""Tables that hold the words of rows beside them: FTS5 on SQLite, `tsvector` on PostgreSQL, for passages and memories.

A table `<name>` belongs to rows that have a `number`; its words go with their row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, text

from backend.core.db.database import Transaction


@dataclass(frozen=True, slots=True)
class WordTable:
    """One such table.

    Args:
        name: of the table.
        rows: the table whose rows it belongs to.
        columns: what SQLite's index is made of.
        told: those of them that hold terms.
    """

    name: str
    rows: str
    columns: Sequence[str]
    told: Sequence[str]

    def make(self, dialect: str) -> Sequence[str]:
        """Return the statements that make it.

        On SQLite words of what is removed stay in the index's files until pieces of it are merged: a zero in the queue
        asks for that (`history.search.wipe`).
        """
        name, rows = self.name, self.rows
        if dialect == "postgresql":
            number = f"number bigint primary key references {rows}(number) on delete cascade"
            return (
                f"create table {name} ({number}, terms tsvector not null)",
                f"create index ix_{name} on {name} using gin (terms)",
            )
        removal = (
            f"begin delete from {name} where rowid = old.number; "  # noqa: S608 (names of ours)
            f"insert or ignore into {name}_queue(number) values (0); end"
        )
        return (
            f"create table {name}_queue (number integer primary key)",
            f"create virtual table {name} using fts5({', '.join(self.columns)})",
            f"create trigger {name}_go after delete on {rows} {removal}",
        )

    def drop(self, dialect: str) -> Sequence[str]:
        """Return the statements that remove it."""
        dropped = f"drop table {self.name}"
        if dialect == "postgresql":
            return (dropped,)
        return (f"drop trigger {self.name}_go", f"drop table {self.name}_queue", dropped)

    async def terms_of(self, session: Transaction, numbers: Collection[int]) -> Mapping[int, frozenset[str]]:
        """Return the terms of rows."""
        statement = self.terms_statement(session.get_bind().dialect.name)
        listed = text(statement).bindparams(bindparam("numbers", expanding=True))
        rows = await session.execute(listed, {"numbers": list(numbers)})
        return {int(number): frozenset(str(told).split()) for number, told in rows}

    def terms_statement(self, dialect: str) -> str:
        """Return the statement that reads them."""
        if dialect == "postgresql":
            told = "number, array_to_string(tsvector_to_array(terms), ' ')"
            return f"select {told} from {self.name} where number in :numbers"  # noqa: S608 (names of ours)
        joined = " || ' ' || ".join(self.told)
        return f"select rowid, {joined} from {self.name} where rowid in :numbers"  # noqa: S608
