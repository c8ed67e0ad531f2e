"""Collections for their owners, and for those they are shared with."""

import uuid

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.audit.deps import caller_of
from backend.features.auth.deps import principal_of
from backend.features.auth.policies import ACCOUNTS, permitted
from backend.features.auth.principal import Permission
from backend.features.knowledge.collection_service import CollectionView
from backend.features.knowledge.deps import knowledge_of
from backend.features.knowledge.schemas import CollectionRead, CollectionWrite
from backend.web.side_api import PageReply, Paging, SideRoute, page_reply

router = APIRouter(prefix="/api/v1/collections", tags=["knowledge"], route_class=SideRoute, dependencies=[ACCOUNTS])
administration = APIRouter(
    prefix="/api/v1/admin/collections",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.MANAGE_KNOWLEDGE)],
)


@router.get("", response_model=PageReply[CollectionRead])
async def list_readable(request: Request, paging: Paging) -> dict[str, object]:
    """List the collections you may search."""
    return page_reply(CollectionRead, await knowledge_of(request).collections.page(principal_of(request), paging))


@router.get("/my", response_model=PageReply[CollectionRead])
async def list_own(request: Request, paging: Paging) -> dict[str, object]:
    """List your own collections."""
    found = await knowledge_of(request).collections.page(principal_of(request), paging, own=True)
    return page_reply(CollectionRead, found)


@router.post("", status_code=201, response_model=CollectionRead)
async def create(request: Request, body: CollectionWrite) -> CollectionView:
    """Make a collection."""
    return await knowledge_of(request).collections.create(caller_of(request), body.draft())


@router.get("/{collection_id}", response_model=CollectionRead)
async def show(request: Request, collection_id: uuid.UUID) -> CollectionView:
    """Show a collection you may search."""
    return await knowledge_of(request).collections.get(principal_of(request), collection_id)


@router.put("/{collection_id}", response_model=CollectionRead)
async def change(request: Request, collection_id: uuid.UUID, body: CollectionWrite) -> CollectionView:
    """Make a collection of yours what the body says, shares included."""
    return await knowledge_of(request).collections.replace(caller_of(request), collection_id, body.draft())


@router.delete("/{collection_id}", status_code=204)
async def remove(request: Request, collection_id: uuid.UUID) -> Response:
    """Remove a collection of yours with all its documents."""
    await knowledge_of(request).collections.delete(caller_of(request), collection_id)
    return Response(status_code=204)


@administration.get("", response_model=PageReply[CollectionRead])
async def list_all(request: Request, paging: Paging) -> dict[str, object]:
    """List everybody's collections; they are changed and removed where their owners do it."""
    return page_reply(CollectionRead, await knowledge_of(request).collections.page(principal_of(request), paging))
