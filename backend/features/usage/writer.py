"""Writes beginnings and ends of requests, many in one transaction, with the quotas they count for.

Quotas are read and locked, in one order for all processes, then changed: whoever comes at the same time waits, so
that two requests never share what only one may use. On SQLite the writing transaction itself is that lock. Plain
statements, because every request pays for them twice.
"""

import uuid
from collections.abc import Sequence
from datetime import date

from sqlalchemy.engine import Connection

from backend.core.db.plain import Values, statements
from backend.features.usage.entries import Begin, Entry, Refusal, Settle
from backend.features.usage.models import LOST, OPEN
from backend.features.usage.windows import Key, Windows, keys_of

Item = Begin | Settle

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


def write(connection: Connection, items: Sequence[Item]) -> Sequence[Refusal | None]:
    """Write items in their order; a `Writer` of `GroupCommit`, whose result for a refused beginning is why."""
    return _Writing(connection).write(items)


class _Writing:
    """One transaction's worth of items."""

    def __init__(self, connection: Connection) -> None:
        self._store = statements(connection)
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
        store = self._store
        rows = store.locked(_STATES, (), [store.id(entry_id) for entry_id in ids])
        return {store.read_id(row[0]): (row[1], row[2]) for row in rows}

    def _lock(self, keys: set[Key]) -> None:
        """Read and lock windows, in one order; those that are not there yet are made."""
        for day in sorted({day for _, day in keys}):
            subjects = sorted(subject for subject, its_day in keys if its_day == day)
            self._read(day, subjects)
            if missing := self._windows.missing((subject, day) for subject in subjects):
                stored = self._store.day(day)
                self._run(_ADD, [(subject, stored) for subject, _ in missing])
                self._read(day, [subject for subject, _ in missing])

    def _read(self, day: date, subjects: list[str]) -> None:
        rows = self._store.locked(_READ, (self._store.day(day),), subjects)
        for subject, _, spent, reserved in rows:
            self._windows.put((subject, day), spent, reserved)

    def _flush(self) -> None:
        store = self._store
        if changed := [(w.spent, w.reserved, key[0], store.day(key[1])) for key, w in self._windows.changed()]:
            self._run(_WRITE, changed)
        if self._inserts:
            rows = [(*self._begun(entry), *self._ended(entry, end)) for entry, end in self._inserts.values()]
            self._run(_INSERT, rows)
        if self._updates:
            ordered = sorted(self._updates, key=lambda item: item.entry.id)
            self._run(_UPDATE, [(*self._ended(item.entry, item), store.id(item.entry.id)) for item in ordered])

    def _run(self, statement: str, rows: list[Values]) -> None:
        self._store.run(statement, rows)

    def _begun(self, entry: Entry) -> Values:
        store = self._store
        user_id = None if entry.user_id is None else store.id(entry.user_id)
        return (
            *(store.id(entry.id), store.moment(entry.at), store.day(entry.day), entry.kind, entry.model, user_id),
            *(entry.of_account, entry.key_id, entry.agent_id, entry.request_id, entry.estimate),
        )

    def _ended(self, entry: Entry, end: Settle | None) -> Values:
        if end is None:
            subjects = " ".join(limit.subject for limit in entry.limits)
            return (OPEN, entry.reserved, subjects, 0, 0, None, "", "", None, "", None, None)
        return (
            *(end.status, 0, "", end.prompt_tokens, end.completion_tokens),
            *(self._store.moment(end.finished_at), end.backend, end.backend_model, end.cost, end.currency),
            *(end.ms, end.first_token_ms),
        )


def _asks(item: Settle, begun: set[uuid.UUID]) -> bool:
    """Whether an end depends on how the store knows its request."""
    return item.entry.id not in begun and (bool(item.entry.limits) or not item.is_written)
