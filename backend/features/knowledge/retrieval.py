"""Finds passages: by words and by vectors at once, fused, checked against rights, gated, thinned out and joined.

How passages rank is kept for a minute; who may read them is asked each time.
"""

import asyncio
import contextlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select

from backend.core.db.database import Database, Transaction
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.auth.principal import Principal
from backend.features.knowledge import keyword_search
from backend.features.knowledge.dense import Near, Nearest
from backend.features.knowledge.embedding_models import about
from backend.features.knowledge.fusion import fuse
from backend.features.knowledge.hits import Passage, diversify, merge_neighbours, permitted_passages
from backend.features.knowledge.languages import Language
from backend.features.knowledge.models import Chunk
from backend.features.knowledge.questions import Question
from backend.features.knowledge.relevance import KeywordGate, rare_first, within_bounds
from backend.features.knowledge.reranking import Reranker
from backend.features.knowledge.scopes import Holdings, Scope, holdings, readable_scope, searched
from backend.features.knowledge.terms import query_terms
from backend.llm.grounding import Mode

_log = get_logger(__name__)

EMBED_SECONDS, SEARCH_SECONDS, RERANK_SECONDS = 3.0, 1.0, 0.8
_HITS, _READ = 50, 40
_KEEP_SECONDS, _KEPT = 60.0, 256
NO_VECTORS = "documents were searched by words alone: what searches by meaning did not answer"
SOME_VECTORS = "some documents were searched by words alone: what searches them by meaning did not answer"
NO_WORDS = "documents were searched by meaning alone: what searches by words did not answer"
NEITHER = "some documents could not be searched: neither what searches by words nor what searches by meaning answered"
NO_DOCUMENTS = "there are no documents to search yet"
NOTHING_FOUND = "no passage has to do with the question"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    passages: tuple[Passage, ...]
    mode: Mode
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Ranking:
    scores: Mapping[int, float]
    near: frozenset[int]
    """Those whose vectors are near enough to have to do with the question."""
    gate: KeywordGate
    mode: Mode
    note: str


class Retrieval:
    """Searches scopes.

    Args:
        database: holds passages and their keyword index.
        dense: searches by vectors; None where there is no embedder.
        reranker: sorts the best anew; None where there is none.
        clock: in seconds.
    """

    def __init__(
        self,
        database: Database,
        dense: Nearest | None = None,
        reranker: Reranker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._dense = dense
        self._reranker = reranker
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, _Ranking]] = OrderedDict()
        self._counted: tuple[float, int] | None = None

    def use_vectors(self, dense: Nearest) -> None:
        """Search by vectors too, from now on: who makes them is opened after what searches."""
        self._dense = dense

    async def scope_of(self, principal: Principal, collection_id: uuid.UUID) -> Scope | None:
        """Return one collection as what is searched, or None when the caller may not read it."""
        async with self._database.reading() as session:
            return await readable_scope(session, principal, collection_id)

    async def search(
        self, principal: Principal, scope: Scope, question: Question, limit: int, *, is_gated: bool = True
    ) -> Found:
        """Return the best passages of a scope, as far as the caller may read them now.

        Raises `GatewayError` when nothing can be searched. With `is_gated` only passages are returned that have to do
        with the question.
        """
        async with self._database.reading() as session:
            held = await holdings(session, principal, scope)
        if not held.documents:
            return Found((), "none", NO_DOCUMENTS)
        ranking = await self._ranked(scope, held, question)
        best = dict(sorted(ranking.scores.items(), key=lambda item: -item[1])[:_READ])
        async with self._database.reading() as session:
            passages = await permitted_passages(session, principal, scope, best)
            if is_gated and passages:
                terms = await keyword_search.WORDS.terms_of(session, [passage.numbers[0] for passage in passages])
                passages = [p for p in passages if _is_relevant(p.numbers[0], ranking, terms)]
        passages = await self._reranked(question, passages)
        found = merge_neighbours(diversify(passages, limit))
        return Found(tuple(found), ranking.mode if found else "none", ranking.note or ("" if found else NOTHING_FOUND))

    async def _ranked(self, scope: Scope, held: Holdings, question: Question) -> _Ranking:
        key = (scope, held.documents, held.changed_at, question)
        kept = self._kept.get(key)
        if kept is not None and self._clock() - kept[0] < _KEEP_SECONDS:
            self._kept.move_to_end(key)
            return kept[1]
        ranking = await self._rank(scope, held.languages, question)
        if not ranking.note:
            self._kept[key] = (self._clock(), ranking)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return ranking

    async def _rank(self, scope: Scope, languages: Sequence[Language], question: Question) -> _Ranking:
        words, near = await asyncio.gather(
            self._by_words(scope, languages, question), self._by_vectors(scope, question), return_exceptions=True
        )
        for failure in (words, near):
            if isinstance(failure, BaseException) and not isinstance(failure, (GatewayError, TimeoutError)):
                raise failure
        if isinstance(words, BaseException):
            _log.warning("keyword_search_failed", reason=type(words).__name__)
            if isinstance(near, BaseException) or near is None:
                raise words
            by_meaning, model = near
            over = _over(by_meaning.cosines, model)
            note = NO_WORDS if by_meaning.unanswered.is_empty else NEITHER
            return _Ranking(by_meaning.cosines, over, KeywordGate((), (), {}, 0), "hybrid", note)
        scores, gate = words
        if near is None:
            return _Ranking(scores, frozenset(), gate, "keyword", "")
        if isinstance(near, BaseException):
            _log.warning("dense_search_failed", reason=type(near).__name__)
            return _Ranking(scores, frozenset(), gate, "keyword", NO_VECTORS)
        by_meaning, model = near
        unseen = await self._within(by_meaning.unanswered, scores)
        fused = fuse(scores, by_meaning.cosines, about(model).dense_weight, unseen)
        note = "" if by_meaning.unanswered.is_empty else SOME_VECTORS
        return _Ranking(fused, _over(by_meaning.cosines, model), gate, "hybrid", note)

    async def _by_words(
        self, scope: Scope, languages: Sequence[Language], question: Question
    ) -> tuple[dict[int, float], KeywordGate]:
        turns = [(query_terms(text, languages), weight) for text, weight in question.weighted]
        asked = [term for terms, _ in turns for term in terms]
        words, exact, every = within_bounds(question.words(languages), question.references(), asked)
        async with asyncio.timeout(SEARCH_SECONDS), self._database.reading() as session:
            counts = await keyword_search.frequencies(session, every) if every else {}
            total = max(await self._passages(session), *counts.values(), 0) if counts else 0
            scores: dict[int, float] = {}
            for terms, weight in turns:
                wanted = rare_first(terms, counts, total)
                for number, score in (await keyword_search.search(session, wanted, searched(scope), _HITS)).items():
                    scores[number] = scores.get(number, 0.0) + weight * score
        return scores, KeywordGate(words, exact, counts, total)

    async def _by_vectors(self, scope: Scope, question: Question) -> tuple[Near, str] | None:
        """Return the nearest passages and the model that made the vectors; None where there are no vectors."""
        if self._dense is None or not question.last:
            return None
        async with asyncio.timeout(EMBED_SECONDS):
            made = await self._dense.vector(question.text)
        if made is None:
            return None
        made_by, vector = made
        return await self._dense.nearest(scope, made_by, vector, _HITS, SEARCH_SECONDS), made_by.model

    async def _within(self, scope: Scope, numbers: Collection[int]) -> frozenset[int]:
        """Return which passages are of a scope; none where the store does not answer any more, for this is a nicety."""
        if scope.is_empty or not numbers:
            return frozenset()
        wanted = select(Chunk.number).where(Chunk.number.in_(numbers), searched(scope))
        with contextlib.suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(SEARCH_SECONDS), self._database.reading() as session:
                return frozenset(await session.scalars(wanted))
        return frozenset()

    async def _passages(self, session: Transaction) -> int:
        """Return how many passages there are, counted once a minute."""
        now = self._clock()
        if self._counted is None or now - self._counted[0] > _KEEP_SECONDS:
            self._counted = (now, await session.scalar(select(func.count()).select_from(Chunk)) or 0)
        return self._counted[1]

    async def _reranked(self, question: Question, passages: Sequence[Passage]) -> list[Passage]:
        """Return the passages in the order of the reranker; as they were when it does not answer in time."""
        if self._reranker is None or len(passages) < 2:  # noqa: PLR2004 (one needs no order)
            return list(passages)
        try:
            async with asyncio.timeout(RERANK_SECONDS):
                scores = await self._reranker.rerank(question.text, [passage.text for passage in passages])
        except (GatewayError, TimeoutError) as error:
            _log.warning("rerank_failed", reason=type(error).__name__)
            return list(passages)
        scored = [replace(passage, score=score) for passage, score in zip(passages, scores, strict=True)]
        return sorted(scored, key=lambda passage: -passage.score)


def _over(cosines: Mapping[int, float], model: str) -> frozenset[int]:
    least = about(model).cosine
    return frozenset(number for number, cosine in cosines.items() if cosine >= least)


def _is_relevant(number: int, ranking: _Ranking, terms: Mapping[int, frozenset[str]]) -> bool:
    return number in ranking.near or ranking.gate.admits(terms.get(number, frozenset()))
