"""Statements as a store's driver takes them, for what every request writes.

The layers above a driver cost several times what the database itself does, and a request pays for them at its beginning
and at its end. A `Writer` of `GroupCommit` therefore writes its few statements out: a value's place is `?`, and a list
in a statement is `(%s)`.
"""

import json
import re
import sqlite3
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import count
from typing import Any, Protocol

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

Values = tuple[Any, ...]

_LENGTHS = (1, 4, 16, 64, 256, 1024)
"""How long lists in statements are, the rest filled up: as many statements there are to prepare."""


def statements(connection: Connection) -> "Statements":
    """Return what runs plain statements in the transaction of a connection."""
    return _Sqlite(connection) if connection.dialect.name == "sqlite" else _Postgresql(connection)


class Statements(Protocol):
    """Runs plain statements in one transaction, and tells how its store keeps values."""

    def rows(self, statement: str, values: Values) -> Sequence[Values]:
        """Return what a statement finds."""
        ...

    def locked(self, statement: str, values: Values, listed: Sequence[Any]) -> Sequence[Values]:
        """Return the rows that a statement with a list after its values finds; nobody else changes them meanwhile.

        The list is not empty.
        """
        ...

    def run(self, statement: str, rows: Sequence[Values]) -> None:
        """Run a statement for each row of values; there is at least one."""
        ...

    def id(self, value: uuid.UUID) -> Any:
        """Return an id as it is stored."""
        ...

    def read_id(self, value: Any) -> uuid.UUID:
        """Return a stored id."""
        ...

    def day(self, value: date) -> Any:
        """Return a day as it is stored."""
        ...

    def moment(self, value: datetime) -> Any:
        """Return a time in UTC as it is stored."""
        ...

    def read_moment(self, value: Any) -> datetime:
        """Return a stored time."""
        ...

    def json(self, value: Sequence[Any]) -> str:
        """Return a list as it is stored."""
        ...


class _Sqlite:
    """SQLite's own connection; the writing transaction is the lock."""

    def __init__(self, connection: Connection) -> None:
        self._driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]

    def rows(self, statement: str, values: Values) -> Sequence[Values]:
        """See `Statements.rows`."""
        try:
            found: list[Values] = self._driver.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _as_sqlalchemy(statement, error) from error
        return found

    def locked(self, statement: str, values: Values, listed: Sequence[Any]) -> Sequence[Values]:
        """See `Statements.locked`."""
        return self.rows(*_with_list(statement, values, listed))

    def run(self, statement: str, rows: Sequence[Values]) -> None:
        """See `Statements.run`."""
        try:
            self._driver.executemany(statement, rows)
        except sqlite3.Error as error:
            raise _as_sqlalchemy(statement, error) from error

    def id(self, value: uuid.UUID) -> Any:
        """See `Statements.id`."""
        return value.hex

    def read_id(self, value: Any) -> uuid.UUID:
        """See `Statements.read_id`."""
        return uuid.UUID(value)

    def day(self, value: date) -> Any:
        """See `Statements.day`."""
        return value.isoformat()

    def moment(self, value: datetime) -> Any:
        """See `Statements.moment`."""
        return value.isoformat(" ", "microseconds").removesuffix("+00:00")

    def read_moment(self, value: Any) -> datetime:
        """See `Statements.read_moment`."""
        return datetime.fromisoformat(value).replace(tzinfo=UTC)

    def json(self, value: Sequence[Any]) -> str:
        """See `Statements.json`."""
        return _as_json(value)


class _Postgresql:
    """What asyncpg takes, through the connection above it, which lends it to synchronous code."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Values) -> Sequence[Values]:
        """See `Statements.rows`."""
        return [tuple(row) for row in self._connection.exec_driver_sql(_numbered(statement), values)]

    def locked(self, statement: str, values: Values, listed: Sequence[Any]) -> Sequence[Values]:
        """See `Statements.locked`; other processes wait for what is found."""
        return self.rows(*_with_list(f"{statement} for update", values, listed))

    def run(self, statement: str, rows: Sequence[Values]) -> None:
        """See `Statements.run`."""
        self._connection.exec_driver_sql(_numbered(statement), rows[0] if len(rows) == 1 else list(rows))

    def id(self, value: uuid.UUID) -> Any:
        """See `Statements.id`."""
        return value

    def read_id(self, value: Any) -> uuid.UUID:
        """See `Statements.read_id`: the driver's own type becomes the standard library's."""
        return uuid.UUID(int=value.int)

    def day(self, value: date) -> Any:
        """See `Statements.day`."""
        return value

    def moment(self, value: datetime) -> Any:
        """See `Statements.moment`."""
        return value

    def read_moment(self, value: Any) -> datetime:
        """See `Statements.read_moment`."""
        read: datetime = value
        return read

    def json(self, value: Sequence[Any]) -> str:
        """See `Statements.json`."""
        return _as_json(value)


def _as_json(value: Sequence[Any]) -> str:
    return json.dumps(value) if value else "[]"


@lru_cache(maxsize=256)
def _numbered(statement: str) -> str:
    """Number the places of the values; there are few different statements."""
    number = count(1)
    return re.sub(r"\?", lambda _place: f"${next(number)}", statement)


def _with_list(statement: str, values: Values, listed: Sequence[Any]) -> tuple[str, Values]:
    """Fill a list up to one of few lengths; a longer one stays as it is."""
    length = next((length for length in _LENGTHS if length >= len(listed)), len(listed))
    filled = (*listed, *[listed[-1]] * (length - len(listed)))
    return statement % ",".join("?" * length), (*values, *filled)


def _as_sqlalchemy(statement: str, error: sqlite3.Error) -> BaseException:
    """Return what the driver raises as everybody else's errors of the store."""
    return DBAPIError.instance(statement, None, error, sqlite3.Error, hide_parameters=True)
