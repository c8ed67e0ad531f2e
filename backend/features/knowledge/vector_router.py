"""Vectors, for those who look after them."""

from typing import Literal

from fastapi import APIRouter, Request

from backend.features.audit.deps import caller_of
from backend.features.auth.policies import permitted
from backend.features.auth.principal import Permission
from backend.features.knowledge.embedders import EmbedderStatus
from backend.features.knowledge.vector_administration import VectorAdministration
from backend.web.side_api import Reply, SideRoute

router = APIRouter(
    prefix="/api/v1/admin/knowledge",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.MANAGE_KNOWLEDGE)],
)


class EmbedderRead(Reply):
    """Who makes vectors, and why."""

    mode: Literal["hybrid", "keyword"]
    """`hybrid` where questions are compared by meaning too."""
    kind: str
    """The kind of server that makes vectors; empty where none does."""
    model: str
    fingerprint: str
    """Of the vectors that are made: another one, other vectors."""
    dimensions: int
    reason: str
    """Why this one, or why none."""
    is_changing: bool
    """Whether vectors of another embedder are being made, which then take the place of these."""
    waiting: int
    """Passages that have no vector of it yet."""
    index: str
    """What finds vectors: `embedded`, `server` or `exact`."""


@router.get("/embedder", response_model=EmbedderRead)
async def show_embedder(request: Request) -> EmbedderStatus:
    """Tell who makes vectors and why, and what waits for theirs."""
    return await _administration(request).status()


@router.post("/reindex", status_code=202, response_model=EmbedderRead)
async def reindex(request: Request) -> EmbedderStatus:
    """Have missing vectors made and every index built anew, after this reply; searching goes on meanwhile."""
    return await _administration(request).reindex(caller_of(request))


def _administration(request: Request) -> VectorAdministration:
    found: VectorAdministration = request.state.container.vectors.administration
    return found
