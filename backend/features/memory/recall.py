"""Finds what a user and an agent said before that has to do with a question.

By words, counted among one's own memories alone, and by vectors where there is an embedder; what is older counts less.
"""

import asyncio
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement

from backend.core.db.database import Database, Transaction
from backend.core.db.tables import utc_now
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.generation.record import Asked
from backend.features.knowledge.embedding_models import about
from backend.features.knowledge.languages import Language
from backend.features.knowledge.ports import Fingerprint, TextEmbedder
from backend.features.knowledge.questions import Question, read_question
from backend.features.knowledge.relevance import KeywordGate, both_ends, rare_first
from backend.features.memory import word_index
from backend.features.memory.exchanges import digests_in, normalised
from backend.features.memory.nearness import VectorCache, Vectors, nearest, stack
from backend.features.memory.repository import MemoryRepository, Said, recallable, usable
from backend.features.memory.word_index import MAX_TERMS, Whose
from backend.llm.grounding import Mode
from backend.llm.types import ChatRequest

_log = get_logger(__name__)

MOST_RECALLED = 3
_CANDIDATES = 30
_EMBED_SECONDS = 1.0
_LEAST_COVERAGE = 0.3
"""Of the weight of a question's words that a memory must hold."""
_ENOUGH_WORDS = 8
_HALF_LIFE = timedelta(days=30)


class EmbedderInUse(Protocol):
    """Who makes vectors now."""

    @property
    def embedder(self) -> TextEmbedder:
        """Whom to ask."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Which one that is."""
        ...


FindEmbedder = Callable[[], EmbedderInUse | None]


def no_embedder() -> EmbedderInUse | None:
    """Return none: words alone are compared."""
    return None


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that has to do with a question."""

    memory: Said
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, best first."""

    memories: tuple[Recalled, ...] = ()
    mode: Mode = "none"


class Recall:
    """Searches one's own memories.

    Args:
        database: holds them.
        retention: after which they are not recalled any more.
        now: the time, with its zone.
    """

    def __init__(self, database: Database, retention: timedelta, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._retention = retention
        self._now = now
        self._memories = MemoryRepository()
        self._vectors = VectorCache()
        self._find_embedder: FindEmbedder = no_embedder

    def use_vectors(self, find_embedder: FindEmbedder) -> None:
        """Compare vectors too, from now on: who makes them is opened after what searches."""
        self._find_embedder = find_embedder

    async def search(self, whose: Whose, asked: Asked) -> Found:
        """Return what has to do with the last question of a request; raise `GatewayError` when it cannot be searched.

        Never from the same chat, and nothing that stands in the conversation already.
        """
        request, principal = asked.request, asked.context.principal
        if not isinstance(request, ChatRequest):
            return Found()
        question = read_question(request.messages)
        now = self._now()
        where = recallable(principal, whose.agent_id, now - self._retention, asked.chat_id)
        async with self._database.reading() as session:
            total = await self._memories.count(session, usable(principal, whose.agent_id))
        if not total or not question.last:
            return Found()
        words, (cosines, model) = await asyncio.gather(
            self._by_words(whose, where, question, total), self._by_vectors(whose, question, asked.chat_id)
        )
        gate, weights, hits = words
        wanted = {*hits, *cosines}
        if not wanted:
            return Found()
        async with self._database.reading() as session:
            memories = await self._memories.numbered(session, wanted, where)
            terms = await word_index.WORDS.terms_of(session, [memory.number for memory in memories])
        known = await asyncio.to_thread(digests_in, request.messages)
        scored = [
            Recalled(memory, score * _decay(now - memory.created_at))
            for memory in memories
            if memory.digest not in known
            and (score := _score(memory.number, gate, weights, terms, cosines, model)) is not None
        ]
        best = _distinct(sorted(scored, key=lambda one: (-one.score, -one.memory.number)))[:MOST_RECALLED]
        return Found(tuple(best), "none" if not best else "hybrid" if model else "keyword")

    async def _by_words(
        self, whose: Whose, where: ColumnElement[bool], question: Question, total: int
    ) -> tuple[KeywordGate, "_Weights", Sequence[int]]:
        """Return what judges memories by their words, and those that hold any."""
        exact = question.references()[: MAX_TERMS // 4]
        words = both_ends(question.words(tuple(Language)), MAX_TERMS - len(exact))
        terms = list(dict.fromkeys([*exact, *(term for word in words for term in sorted(word))]))
        async with self._database.reading() as session:
            counts = await word_index.frequencies(session, whose, terms)
            hits = await word_index.search(session, whose, rare_first(terms, counts, total), where, _CANDIDATES)
        return KeywordGate(words, exact, counts, total), _weigh(words, counts, total), hits

    async def _by_vectors(
        self, whose: Whose, question: Question, chat_id: uuid.UUID | None
    ) -> tuple[Mapping[int, float], str]:
        """Return the nearest memories with their cosines and who made the vectors; nothing where nobody does."""
        used = self._find_embedder()
        if used is None:
            return {}, ""
        try:
            async with asyncio.timeout(_EMBED_SECONDS):
                [vector] = await used.embedder.embed([question.text], "query")
        except (GatewayError, TimeoutError) as error:
            _log.warning("memories_by_words_alone", reason=type(error).__name__)
            return {}, ""
        async with self._database.reading() as session:
            here = await self._memories.of_chat(session, chat_id)
            vectors = await self._stacked(session, whose, used.fingerprint.value)
        found = await asyncio.to_thread(nearest, vectors, vector, _CANDIDATES, here)
        return found, used.fingerprint.model if found else ""

    async def _stacked(self, session: Transaction, whose: Whose, fingerprint: str) -> Vectors:
        """Return somebody's vectors, read once until there are others; who may see what is asked of what they find."""
        stamp, key = await self._memories.stamp(session, whose, fingerprint), (whose, fingerprint)
        kept = self._vectors.get(key, stamp)
        if kept is None:
            kept = await asyncio.to_thread(stack, await self._memories.vectors(session, whose, fingerprint))
            self._vectors.put(key, stamp, kept)
        return kept


_Weights = Mapping[frozenset[str], float]


def _weigh(words: Sequence[frozenset[str]], counts: Mapping[str, int], total: int) -> _Weights:
    """Return how much each word of a question tells: the rarer among one's own memories, the more."""
    return {
        word: math.log(1 + (1 + total) / (1 + max((counts.get(term, 0) for term in word), default=0))) for word in words
    }


def _score(
    number: int,
    gate: KeywordGate,
    weights: _Weights,
    terms: Mapping[int, frozenset[str]],
    cosines: Mapping[int, float],
    model: str,
) -> float | None:
    """Return how well a memory fits a question; None when it has nothing to do with it."""
    own = terms.get(number, frozenset())
    coverage = _coverage(weights, own)
    told = gate.admits(own) and coverage >= _LEAST_COVERAGE
    if not model:
        return coverage if told else None
    known, cosine = about(model), cosines.get(number, 0.0)
    if not told and cosine < known.cosine:
        return None
    return (1 - known.dense_weight) * coverage + known.dense_weight * max(cosine, 0.0)


def _coverage(weights: _Weights, terms: frozenset[str]) -> float:
    """Return how much of a question's weight some terms hold; of a long question that of a few words is enough."""
    if not weights:
        return 0.0
    whole = min(sum(weights.values()), _ENOUGH_WORDS * max(weights.values()))
    held = sum(weight for word, weight in weights.items() if not word.isdisjoint(terms))
    return min(held / whole, 1.0)


def _decay(age: timedelta) -> float:
    return float(0.5 ** (max(age, timedelta()) / _HALF_LIFE))


def _distinct(found: Sequence[Recalled]) -> list[Recalled]:
    """Return what was found with one answer to each question, the best."""
    first: dict[str, Recalled] = {}
    for one in found:
        first.setdefault(normalised(one.memory.question), one)
    return list(first.values())
