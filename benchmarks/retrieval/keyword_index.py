"""A keyword index in memory, as SQLite's FTS5 ranks it: title and text in columns of their own."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from backend.features.knowledge.terms import index_terms, query_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backend.features.knowledge.languages import Language

TITLE_WEIGHT = 1.5
"""How much more a word in a title or heading tells than one in the text."""


COMMON = 0.1
"""Share of passages above which a term is left out where there are many passages: it finds nothing and costs most."""
MANY = 5_000


class KeywordIndex:
    """Passages by number, in one language."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._store = sqlite3.connect(":memory:")
        self._store.execute("create virtual table passages using fts5(title, body)")
        self._size = 0

    def add(self, title: str, body: str) -> None:
        """Add the next passage."""
        terms = (" ".join(index_terms(part, self._language)) for part in (title, body))
        self._store.execute("insert into passages(rowid, title, body) values (?, ?, ?)", (self._size, *terms))
        self._size += 1

    def prepare(self) -> None:
        """Make terms countable once all passages are there."""
        self._store.execute("create virtual table if not exists vocabulary using fts5vocab(passages, row)")

    def search(self, question: str, limit: int) -> Sequence[tuple[int, float]]:
        """Return the best passages and their scores, the higher the better."""
        wanted = " OR ".join(f'"{term}"' for term in self._telling(query_terms(question, (self._language,))))
        if not wanted:
            return ()
        statement = (
            f"select rowid, -bm25(passages, {TITLE_WEIGHT}, 1.0) from passages where passages match ? "  # noqa: S608
            "order by 2 desc limit ?"
        )
        return self._store.execute(statement, (wanted, limit)).fetchall()

    def _telling(self, terms: Sequence[str]) -> Sequence[str]:
        """Return the terms that tell passages apart, rare ones first; all where there are few passages."""
        if self._size < MANY:
            return terms
        marks = ", ".join("?" * len(terms))
        counted = f"select term, doc from vocabulary where term in ({marks})"  # noqa: S608 (marks alone)
        known = dict(self._store.execute(counted, tuple(terms)).fetchall())
        rare = sorted((count, term) for term, count in known.items() if count <= self._size * COMMON)
        return [term for _, term in rare] or [term for _, term in sorted((c, t) for t, c in known.items())[:1]]
