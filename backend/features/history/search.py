"""Searching titles and messages, without regard to case and accents, in the database's own index.

SQLite: one FTS5 table that holds words only. Triggers queue what is new, for indexing costs a fifth in large pieces;
what waits is indexed before anybody searches. PostgreSQL: two expression indices over words whose accents are taken off
by `translate`, which unlike `unaccent` may stand in an index. Either way a message is found as soon as it is there, an
answer once it has ended, and what is deleted is found no more.
"""

import unicodedata
import uuid
from typing import Any

from sqlalchemy.engine import Connection

INDEXED_CHARACTERS = 20_000
"""Of each message; words beyond are not found."""
MAX_QUERY = 200
_MAX_WORDS = 12
MAX_FOUND = 1000
"""Titles and messages, newest first, that one search looks at."""
_BATCH = 500
_MERGED_PAGES = 200
"""Of the index, that one transaction merges: no writer waits long for it."""
_MERGE_DID_SOMETHING = 2
"""Rows that SQLite says were changed: one is the command itself."""
_FTS = "fts5(owner, body, content='', tokenize='unicode61 remove_diacritics 2')"

_BETWEEN = "./@-_=&?"
"""What PostgreSQL would take for parts of an address."""
_RANGES = ((0xC0, 0x250), (0x386, 0x3CF), (0x400, 0x460), (0x1E00, 0x1F00))


def _letters() -> dict[str, str]:
    """Return letters with accents and what they are without."""
    found: dict[str, str] = {}
    for first, end in _RANGES:
        for code in range(first, end):
            plain = unicodedata.normalize("NFD", chr(code))[0]
            if plain != chr(code) and plain.isalpha():
                found[chr(code)] = plain
    return found


_LETTERS = _letters()
_MARKS = "".join(map(chr, range(0x300, 0x370)))
_FOLD = str.maketrans(_LETTERS) | dict.fromkeys(map(ord, _MARKS))


_QUEUED = f"""
    SELECT q.number, coalesce(m.user_id, c.user_id), substr(coalesce(m.content, c.title), 1, {INDEXED_CHARACTERS})
    FROM (SELECT number FROM history_search_queue WHERE number <> 0 LIMIT {_BATCH}) q
    LEFT JOIN messages m ON m.number = q.number LEFT JOIN chats c ON c.number = -q.number
"""  # noqa: S608 (a number of ours)


_WIPED = ("history_search", "memory_terms", "chunk_terms")
"""The indices that are wiped: of the history, of what agents remember of it, and of passages of documents."""

_WIPE = "INSERT OR IGNORE INTO history_search_queue(number) VALUES (0);"
"""Asks for words that were deleted to be taken out of the index's files, where they stay until pieces are merged."""


def fold(text: str) -> str:
    """Return a text in lower case and without accents, as PostgreSQL's index has it."""
    return text.translate(_FOLD).lower()


def words_of(query: str) -> list[str]:
    """Return the words of what somebody looks for."""
    letters = (c if c.isalnum() else " " for c in unicodedata.normalize("NFC", query[:MAX_QUERY]))
    return "".join(letters).split()[:_MAX_WORDS]


def sqlite_query(user_id: uuid.UUID, query: str) -> str | None:
    """Return FTS5's form of a query for one user's words; the last word may be the beginning of one."""
    wanted = " AND ".join(f'body : "{word}"' for word in words_of(query))
    return f'owner : "{user_id.hex}" AND {wanted}*' if wanted else None


def postgresql_query(query: str) -> str | None:
    """Return PostgreSQL's form of a query; the last word may be the beginning of one."""
    wanted = " & ".join(f"'{word}'" for word in words_of(fold(query)))
    return f"{wanted}:*" if wanted else None


def postgresql_document(column: str) -> str:
    """Return the expression that is indexed."""
    before = "".join(_LETTERS) + _BETWEEN + _MARKS
    after = "".join(_LETTERS.values()) + " " * len(_BETWEEN)
    return f"to_tsvector('simple'::regconfig, translate(left({column}, {INDEXED_CHARACTERS}), '{before}', '{after}'))"


def postgresql_index() -> list[str]:
    """Return the statements that make PostgreSQL's index."""
    return [
        f"CREATE INDEX ix_{table}_history_search ON {table} USING gin ({postgresql_document(column)})"
        for table, column in (("chats", "title"), ("messages", "content"))
    ]


def sqlite_index() -> list[str]:
    """Return the statements that make SQLite's index and the queue of what is not in it yet.

    A migration that makes `chats` or `messages` anew must make these triggers anew, too. A message is known by its
    number, a chat's title by its number below zero. An index that keeps no text must be told what it held when a row
    leaves it.
    """
    title, message = _Row("-{}.number", "title"), _Row("{}.number", "content")
    is_over = "old.status = 'pending' AND new.status <> 'pending'"
    return [
        f"CREATE VIRTUAL TABLE history_search USING {_FTS}",
        "CREATE TABLE history_search_queue (number INTEGER PRIMARY KEY)",
        _trigger("new_chat", "INSERT ON chats", "true", title.queue("new")),
        _trigger(
            "new_title", "UPDATE OF title ON chats", "old.title <> new.title", title.drop("old"), title.queue("new")
        ),
        _trigger("no_chat", "DELETE ON chats", "true", title.drop("old"), title.unqueue("old"), _WIPE),
        _trigger("new_message", "INSERT ON messages", "new.status <> 'pending'", message.queue("new")),
        _trigger("ended_message", "UPDATE OF status ON messages", is_over, message.queue("new")),
        _trigger(
            "no_message", "DELETE ON messages", "old.status <> 'pending'", message.drop("old"), message.unqueue("old")
        ),
    ]


def _trigger(name: str, event: str, condition: str, *statements: str) -> str:
    return f"CREATE TRIGGER history_search_{name} AFTER {event} WHEN {condition} BEGIN {' '.join(statements)} END"


class _Row:
    """What triggers do about a row: `number` is how the index knows it, `column` what is indexed."""

    def __init__(self, number: str, column: str) -> None:
        self._number, self._column = number, column

    def queue(self, row: str) -> str:
        return f"INSERT OR IGNORE INTO history_search_queue(number) VALUES ({self._number.format(row)});"  # noqa: S608 (ours)

    def unqueue(self, row: str) -> str:
        return f"DELETE FROM history_search_queue WHERE number = {self._number.format(row)};"  # noqa: S608 (ours)

    def drop(self, row: str) -> str:
        number = self._number.format(row)
        text = f"substr({row}.{self._column}, 1, {INDEXED_CHARACTERS})"
        unless_queued = f"WHERE NOT EXISTS (SELECT 1 FROM history_search_queue WHERE number = {number})"  # noqa: S608 (ours)
        values = f"SELECT 'delete', {number}, {row}.user_id, {text} {unless_queued}"
        return f"INSERT INTO history_search(history_search, rowid, owner, body) {values};"


def wipe(connection: Connection) -> bool | None:
    """Take deleted words out of SQLite's indices by merging some of their pieces.

    Return whether there is more to do; None when there was nothing to do at all. It is asked for until all is done.
    """
    done: bool | None = None
    for index in _WIPED:
        if connection.exec_driver_sql(f"SELECT 1 FROM {index}_queue WHERE number = 0").scalar():  # noqa: S608 (ours)
            if _merge(connection, index):
                return True
            connection.exec_driver_sql(f"DELETE FROM {index}_queue WHERE number = 0")  # noqa: S608 (ours)
            done = False
    return done


def _merge(connection: Connection, index: str) -> bool:
    """Merge some pieces of an index; return whether that did anything."""
    driver: Any = connection.connection.driver_connection
    before = driver.total_changes
    connection.exec_driver_sql(f"INSERT INTO {index}({index}, rank) VALUES ('merge', ?)", (-_MERGED_PAGES,))  # noqa: S608 (ours)
    return bool(driver.total_changes - before >= _MERGE_DID_SOMETHING)


def index_queued(connection: Connection) -> int:
    """Move some of SQLite's queue into its index; return how many."""
    rows = connection.exec_driver_sql(_QUEUED).all()
    if rows:
        cursor = connection.connection.cursor()
        cursor.executemany("INSERT INTO history_search(rowid, owner, body) VALUES (?, ?, ?)", [tuple(r) for r in rows])
        cursor.executemany("DELETE FROM history_search_queue WHERE number = ?", [(row[0],) for row in rows])
        cursor.close()
    return len(rows)
