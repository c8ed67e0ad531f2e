"""Writes beginnings and ends of requests, many in one transaction, with the quotas they count for.

Quotas are read and locked, in one order for all processes, then changed: whoever comes at the same time waits, so
that two requests never share what only one may use. On SQLite the writing transaction itself is that lock. Plain
statements, because every request pays for them twice.
"""

import contextlib
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import count
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from backend.features.usage.entries import Begin, Entry, Refusal, Settle
from backend.features.usage.models import LOST, OPEN
from backend.features.usage.windows import Key, Windows, keys_of

Item = Begin | Settle
Values = tuple[Any, ...]

_BEGUN = ("id", "at", "day", "kind", "model", "user_id", "of_account", "key_id", "agent_id", "request_id", "estimate")
_ENDED = (
    *("status", "reserved", "subjects", "prompt_tokens", "completion_tokens", "finished_at", "backend"),
    *("backend_model", "cost", "currency", "ms", "first_token_ms"),
)
_INSERT = f"insert into usage_entries ({', '.join(_BEGUN + _ENDED)}) values ({', '.join('?' * len(_BEGUN + _ENDED))})"  # noqa: S608 (names of ours)
_UPDATE = f"update usage_entries set {' = ?, '.join(_ENDED)} = ? where id = ? and status in ('open', 'lost')"  # noqa: S608
_STATES = "select id, status, prompt_tokens + completion_tokens from usage_entries where id in (%s) order by id"
_READ = "select subject, day, spent, reserved from quota_windows where day = ? and subject in (%s) order by subject"
_ADD = "insert into quota_windows (subject, day, spent, reserved) values (?, ?, 0, 0) on conflict do nothing"
_WRITE = "update quota_windows set spent = ?, reserved = ? where subject = ? and day = ?"
_LENGTHS = (1, 4, 16, 64, 256, 1024)
"""How long lists in statements are, the rest filled up: as many statements there are to prepare."""


def write(connection: Connection, items: Sequence[Item]) -> Sequence[Refusal | None]:
    """Write items in their order; a `Writer` of `GroupCommit`, whose result for a refused beginning is why."""
    return _Writing(connection).write(items)


class _Writing:
    """One transaction's worth of items."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._speech = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
        self._windows = Windows()
        self._inserts: dict[uuid.UUID, tuple[Entry, Settle | None]] = {}
        self._updates: list[Settle] = []

    def write(self, items: Sequence[Item]) -> list[Refusal | None]:
        begun = {item.entry.id for item in items if isinstance(item, Begin)}
        states = self._states([i.entry.id for i in items if isinstance(i, Settle) and _asks(i, begun)])
        self._lock({key for item in items for key in keys_of(item.entry)})
        results: list[Refusal | None] = []
        for item in items:
            if isinstance(item, Begin):
                results.append(self._begin(item.entry))
            else:
                self._settle(item, states)
                results.append(None)
        self._flush()
        return results

    def _begin(self, entry: Entry) -> Refusal | None:
        refusal = self._windows.reserve(entry)
        if refusal is None:
            self._inserts[entry.id] = (entry, None)
        return refusal

    def _settle(self, item: Settle, states: dict[uuid.UUID, tuple[str, int]]) -> None:
        """Charge an end once; `states` then tells of it to a later end of the same request."""
        entry = item.entry
        if entry.id in self._inserts:
            if self._inserts[entry.id][1] is None:
                self._inserts[entry.id] = (entry, item)
                self._windows.settle(entry, item.tokens)
            return
        if item.is_written and not entry.limits:
            self._updates.append(item)
            return
        status, charged = states.get(entry.id, ("", 0))
        if status == OPEN:
            self._windows.settle(entry, item.tokens)
            self._updates.append(item)
        elif status == LOST and item.status != LOST:
            self._windows.correct(entry, item.tokens, charged)
            self._updates.append(item)
        elif not status and item.may_insert:
            self._inserts[entry.id] = (entry, item)
            return
        else:
            return
        states[entry.id] = (item.status, item.tokens)

    def _states(self, ids: list[uuid.UUID]) -> dict[uuid.UUID, tuple[str, int]]:
        """Return the state of requests and what was charged for them, locked."""
        if not ids:
            return {}
        speech = self._speech
        wanted = _filled([speech.id(entry_id) for entry_id in ids])
        rows = speech.rows(self._connection, _STATES, (), wanted)
        return {speech.read_id(row[0]): (row[1], row[2]) for row in rows}

    def _lock(self, keys: set[Key]) -> None:
        """Read and lock windows, in one order; those that are not there yet are made."""
        for day in sorted({day for _, day in keys}):
            subjects = sorted(subject for subject, its_day in keys if its_day == day)
            self._read(day, subjects)
            if missing := self._windows.missing((subject, day) for subject in subjects):
                stored = self._speech.day(day)
                self._run(_ADD, [(subject, stored) for subject, _ in missing])
                self._read(day, [subject for subject, _ in missing])

    def _read(self, day: date, subjects: list[str]) -> None:
        speech = self._speech
        rows = speech.rows(self._connection, _READ, (speech.day(day),), _filled(subjects))
        for subject, _, spent, reserved in rows:
            self._windows.put((subject, day), spent, reserved)

    def _flush(self) -> None:
        speech = self._speech
        if changed := [(w.spent, w.reserved, key[0], speech.day(key[1])) for key, w in self._windows.changed()]:
            self._run(_WRITE, changed)
        if self._inserts:
            rows = [(*self._begun(entry), *self._ended(entry, end)) for entry, end in self._inserts.values()]
            self._run(_INSERT, rows)
        if self._updates:
            ordered = sorted(self._updates, key=lambda item: item.entry.id)
            self._run(_UPDATE, [(*self._ended(item.entry, item), speech.id(item.entry.id)) for item in ordered])

    def _run(self, statement: str, rows: list[Values]) -> None:
        self._speech.run(self._connection, statement, rows)

    def _begun(self, entry: Entry) -> Values:
        speech = self._speech
        user_id = None if entry.user_id is None else speech.id(entry.user_id)
        return (
            *(speech.id(entry.id), speech.moment(entry.at), speech.day(entry.day), entry.kind, entry.model, user_id),
            *(entry.of_account, entry.key_id, entry.agent_id, entry.request_id, entry.estimate),
        )

    def _ended(self, entry: Entry, end: Settle | None) -> Values:
        if end is None:
            subjects = " ".join(limit.subject for limit in entry.limits)
            return (OPEN, entry.reserved, subjects, 0, 0, None, "", "", None, "", None, None)
        return (
            *(end.status, 0, "", end.prompt_tokens, end.completion_tokens),
            *(self._speech.moment(end.finished_at), end.backend, end.backend_model, end.cost, end.currency),
            *(end.ms, end.first_token_ms),
        )


def _asks(item: Settle, begun: set[uuid.UUID]) -> bool:
    """Whether an end depends on how the store knows its request."""
    return item.entry.id not in begun and (bool(item.entry.limits) or not item.is_written)


def _filled(values: list[Any]) -> list[Any]:
    length = next(length for length in _LENGTHS if length >= len(values))
    return values + values[-1:] * (length - len(values))


class _Sqlite:
    """How SQLite takes values and statements: by its own connection, for the layers above cost five times as much."""

    def rows(self, connection: Connection, statement: str, values: Values, listed: list[Any]) -> Sequence[Values]:
        """Return what a statement with a list at its end finds, locked."""
        with _as_sqlalchemy(statement):
            told: Any = _driver(connection).execute(statement % ",".join("?" * len(listed)), (*values, *listed))
            rows: list[Values] = told.fetchall()
            return rows

    def run(self, connection: Connection, statement: str, rows: list[Values]) -> None:
        """Run a statement for each row of values."""
        with _as_sqlalchemy(statement):
            _driver(connection).executemany(statement, rows)

    def id(self, value: uuid.UUID) -> Any:
        """Return an id as it is stored."""
        return value.hex

    def read_id(self, value: Any) -> uuid.UUID:
        """Return a stored id."""
        return uuid.UUID(value)

    def day(self, value: date) -> Any:
        """Return a day as it is stored."""
        return value.isoformat()

    def moment(self, value: datetime) -> Any:
        """Return a time in UTC as it is stored."""
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")


class _Postgresql(_Sqlite):
    """How asyncpg takes values and statements."""

    def __init__(self) -> None:
        self._numbered: dict[str, str] = {}

    def rows(self, connection: Connection, statement: str, values: Values, listed: list[Any]) -> Sequence[Values]:
        """Let other processes wait for what is found."""
        locking = self._number(statement % ",".join("?" * len(listed)) + " for update")
        return [tuple(row) for row in connection.exec_driver_sql(locking, (*values, *listed))]

    def run(self, connection: Connection, statement: str, rows: list[Values]) -> None:
        """Run a statement for each row of values."""
        connection.exec_driver_sql(self._number(statement), rows[0] if len(rows) == 1 else rows)

    def id(self, value: uuid.UUID) -> Any:
        """Return an id as the driver takes it."""
        return value

    def read_id(self, value: Any) -> uuid.UUID:
        """Return an id as the driver gives it, in the standard library's type."""
        return uuid.UUID(int=value.int)

    def day(self, value: date) -> Any:
        """Return a day as the driver takes it."""
        return value

    def moment(self, value: datetime) -> Any:
        """Return a time as the driver takes it."""
        return value

    def _number(self, statement: str) -> str:
        """Number the places of the values; there are few different statements."""
        numbered = self._numbered.get(statement)
        if numbered is None:
            number = count(1)
            numbered = re.sub(r"\?", lambda _place: f"${next(number)}", statement)
            self._numbered[statement] = numbered
        return numbered


def _driver(connection: Connection) -> sqlite3.Connection:
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


@contextlib.contextmanager
def _as_sqlalchemy(statement: str) -> Iterator[None]:
    """Raise what the driver raises as everybody else's errors of the store."""
    try:
        yield
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, None, error, sqlite3.Error, hide_parameters=True) from error


_SQLITE, _POSTGRESQL = _Sqlite(), _Postgresql()
