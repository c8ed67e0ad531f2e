"""The passages that were found: read from the store with the rights as they are now, thinned out, and joined."""

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select

from backend.core.db.database import Transaction
from backend.core.logging import get_logger
from backend.core.metrics import FOREIGN_PASSAGES
from backend.features.auth.principal import Principal
from backend.features.knowledge.models import Chunk, Document
from backend.features.knowledge.scopes import Scope, permits

_log = get_logger(__name__)
_PAGE_BREAK = "\n\n"


@dataclass(frozen=True, slots=True)
class Passage:
    """A run of text of one document, and how well it answers."""

    numbers: tuple[int, ...]
    """Of the passages it is made of."""
    document_id: uuid.UUID
    title: str
    headings: tuple[str, ...]
    ordinals: tuple[int, int]
    """The first and the last, in its document."""
    text: str
    page: int
    start: int
    """Characters before it in the document's text."""
    score: float = 0.0


async def permitted_passages(
    session: Transaction, principal: Principal, scope: Scope, scores: Mapping[int, float]
) -> list[Passage]:
    """Return the passages of these numbers that the caller may read now, best first; others are counted and dropped."""
    found = {passage.numbers[0]: passage for passage in await _read(session, principal, scope, scores)}
    missing = scores.keys() - found.keys()
    if missing and (foreign := await _still_live(session, missing)):
        FOREIGN_PASSAGES.inc(foreign)
        _log.error("foreign_passages_dropped", passages=foreign, user=str(principal.user_id))
    return [replace(found[number], score=score) for number, score in scores.items() if number in found]


async def _read(session: Transaction, principal: Principal, scope: Scope, numbers: Iterable[int]) -> list[Passage]:
    rows = await session.execute(
        select(Chunk, Document.filename)
        .join(Document, Document.id == Chunk.document_id)
        .where(
            Chunk.number.in_(list(numbers)),
            Chunk.is_live,
            Chunk.version == Document.ready_version,
            Document.status != "deleting",
            permits(principal, scope),
        )
    )
    return [_passage(chunk, filename) for chunk, filename in rows]


async def _still_live(session: Transaction, numbers: Collection[int]) -> int:
    """Return how many of these are there to be read by somebody else; an index may know others that are gone."""
    live = select(func.count()).where(Chunk.number.in_(list(numbers)), Chunk.is_live)
    return await session.scalar(live) or 0


def _passage(chunk: Chunk, filename: str) -> Passage:
    return Passage(
        (chunk.number,),
        chunk.document_id,
        filename,
        tuple(map(str, chunk.headings)),
        (chunk.ordinal, chunk.ordinal),
        chunk.text,
        chunk.first_page,
        chunk.start,
    )


def diversify(passages: Sequence[Passage], limit: int, per_document: int = 3) -> list[Passage]:
    """Return the best passages, at first no more than a few of one document, then what room is left to the others."""
    taken: Counter[uuid.UUID] = Counter()
    first: list[Passage] = []
    rest: list[Passage] = []
    for passage in passages:
        taken[passage.document_id] += 1
        (first if taken[passage.document_id] <= per_document else rest).append(passage)
    return [*first, *rest][:limit]


def merge_neighbours(passages: Sequence[Passage]) -> list[Passage]:
    """Return the passages with those that follow one another in a document as one, in the place of the better one."""
    merged: list[Passage] = []
    for passage in sorted(passages, key=lambda p: (p.document_id, p.ordinals)):
        last = merged[-1] if merged else None
        if last is not None and last.document_id == passage.document_id and passage.ordinals[0] <= last.ordinals[1] + 1:
            merged[-1] = _joined(last, passage)
        else:
            merged.append(passage)
    return sorted(merged, key=lambda p: -p.score)


def _joined(one: Passage, following: Passage) -> Passage:
    return replace(
        one,
        numbers=(*one.numbers, *following.numbers),
        ordinals=(one.ordinals[0], following.ordinals[1]),
        text=join_text(one.text, one.start, following.text, following.start),
        score=max(one.score, following.score),
    )


def join_text(text: str, start: int, following: str, following_start: int) -> str:
    """Return two texts of one document as one; what both have stands there once."""
    overlap = start + len(text) - following_start
    if overlap <= 0:
        return text + _PAGE_BREAK + following
    return text + following[overlap:]
