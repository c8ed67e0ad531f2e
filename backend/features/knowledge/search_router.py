"""Searching a collection by itself: what an answer would be given, without an answer."""

import asyncio
import uuid
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from backend.core.errors import NotFound, StoreUnavailable
from backend.features.auth.deps import principal_of
from backend.features.auth.policies import ACCOUNTS
from backend.features.knowledge.hits import Passage
from backend.features.knowledge.questions import Question
from backend.features.knowledge.retrieval import Retrieval
from backend.web.side_api import Body, Reply, SideRoute

_SECONDS = 5.0
_MAX_QUERY, _MAX_LIMIT = 2_000, 50

router = APIRouter(prefix="/api/v1/collections", tags=["knowledge"], route_class=SideRoute, dependencies=[ACCOUNTS])


class SearchWrite(Body):
    """A question to a collection."""

    query: str = Field(min_length=1, max_length=_MAX_QUERY)
    limit: int = Field(10, ge=1, le=_MAX_LIMIT, description="Passages at most.")


class PassageRead(Reply):
    """A passage that was found; neighbours are one passage."""

    n: int
    document_id: uuid.UUID
    title: str
    headings: list[str]
    page: int
    score: float
    """Higher is better; comparable within one search."""
    text: str


class SearchReply(Reply):
    """What was found, best first."""

    passages: list[PassageRead]
    mode: str
    """`keyword`, `hybrid`, or `none` when nothing was found."""
    note: str


@router.post("/{collection_id}/search", response_model=SearchReply)
async def search(request: Request, collection_id: uuid.UUID, body: SearchWrite) -> dict[str, Any]:
    """Search a collection you may read; all passages are returned, however little they have to do with the query."""
    retrieval: Retrieval = request.state.container.retrieval
    principal = principal_of(request)
    scope = await retrieval.scope_of(principal, collection_id)
    if scope is None:
        raise NotFound("there is no such collection")
    try:
        async with asyncio.timeout(_SECONDS):
            found = await retrieval.search(principal, scope, Question(body.query), body.limit, is_gated=False)
    except TimeoutError:
        raise StoreUnavailable("the search took too long; try again, or ask for less", retry_after=2.0) from None
    passages = [_read(number, passage) for number, passage in enumerate(found.passages, 1)]
    return {"passages": passages, "mode": found.mode, "note": found.note}


def _read(number: int, passage: Passage) -> dict[str, Any]:
    return {
        "n": number,
        "document_id": passage.document_id,
        "title": passage.title,
        "headings": list(passage.headings),
        "page": passage.page,
        "score": passage.score,
        "text": passage.text,
    }
