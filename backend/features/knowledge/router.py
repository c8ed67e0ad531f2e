"""Documents: uploading, watching, reading, replacing and removing them."""

import uuid
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from backend.core.errors import Unprocessable
from backend.features.audit.deps import caller_of
from backend.features.auth.deps import principal_of
from backend.features.auth.policies import ACCOUNTS, permitted
from backend.features.auth.principal import Permission
from backend.features.knowledge.deps import download_response, knowledge_of, received, streamed
from backend.features.knowledge.document_service import DocumentView
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.intake import Added
from backend.features.knowledge.models import Document
from backend.features.knowledge.schemas import ChunkRead, DocumentRead, VersionRead
from backend.features.knowledge.states import Status
from backend.features.knowledge.watching import watch
from backend.web.replies import json_response
from backend.web.side_api import Failure, Invalid, PageReply, Paging, SideRoute, page_reply


class UploadRoute(SideRoute):
    """A route whose endpoint reads the body itself, piece by piece."""

    reads_body: ClassVar = False


_PREFIX = "/api/v1/documents"
router = APIRouter(prefix=_PREFIX, tags=["knowledge"], route_class=SideRoute, dependencies=[ACCOUNTS])
uploads = APIRouter(prefix=_PREFIX, tags=["knowledge"], route_class=UploadRoute, dependencies=[ACCOUNTS])
administration = APIRouter(
    prefix="/api/v1/admin/documents",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.MANAGE_KNOWLEDGE)],
)


def _form(**fields: Any) -> dict[str, Any]:
    """Return what the document says of a form with a file."""
    properties = {"file": {"type": "string", "format": "binary"}, **fields}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


_UNREADABLE: dict[int | str, dict[str, Any]] = {
    404: {"model": Failure, "description": "There is no such place or document for this caller."},
    422: {"model": Invalid, "description": "The file is of no kind that can be read, or the form lacks a field."},
}
_SAME: dict[int | str, dict[str, Any]] = {
    200: {"model": DocumentRead, "description": "A document with these very bytes is there already."}
}
_PLACE: dict[str, Any] = {
    "entity_type": {"type": "string", "enum": [kind.value for kind in EntityKind]},
    "entity_id": {"type": "string", "format": "uuid"},
}


@uploads.post(
    "/upload",
    status_code=202,
    response_model=DocumentRead,
    responses={**_UNREADABLE, **_SAME},
    openapi_extra=_form(**_PLACE),
)
async def upload(request: Request) -> Response:
    """Add a document to a collection, an agent or a chat of yours; it is read after this reply."""
    principal_of(request).require(Permission.KNOWLEDGE)
    async with received(request) as file:
        entity = _entity(file.fields)
        return _added(await knowledge_of(request).intake.add(caller_of(request), entity, file))


@uploads.post(
    "/{document_id}/versions",
    status_code=202,
    response_model=DocumentRead,
    responses={**_UNREADABLE, **_SAME},
    openapi_extra=_form(),
)
async def replace(request: Request, document_id: uuid.UUID) -> Response:
    """Give a document of yours a new file; the old one is searched until the new one is ready."""
    principal_of(request).require(Permission.KNOWLEDGE)
    await knowledge_of(request).documents.get(principal_of(request), document_id)
    async with received(request) as file:
        return _added(await knowledge_of(request).intake.replace(caller_of(request), document_id, file))


@router.get("", response_model=PageReply[DocumentRead])
async def list_documents(
    request: Request, paging: Paging, entity_type: EntityKind, entity_id: uuid.UUID
) -> dict[str, object]:
    """List the documents of a collection, an agent or a chat, newest first."""
    entity = Entity(entity_type, entity_id)
    return page_reply(DocumentRead, await knowledge_of(request).documents.page(principal_of(request), entity, paging))


@router.get("/{document_id}", response_model=DocumentRead)
async def show(request: Request, document_id: uuid.UUID) -> DocumentView:
    """Show a document and how far it is."""
    return await knowledge_of(request).documents.get(principal_of(request), document_id)


@router.delete("/{document_id}", status_code=202, response_model=DocumentRead)
async def remove(request: Request, document_id: uuid.UUID) -> DocumentView:
    """Remove a document of yours: it is found no more at once, and all of it is removed after this reply."""
    return await knowledge_of(request).documents.delete(caller_of(request), document_id)


@router.get("/{document_id}/versions", response_model=PageReply[VersionRead])
async def list_versions(request: Request, document_id: uuid.UUID, paging: Paging) -> dict[str, object]:
    """List the files a document has had, newest first; only the one that is searched is kept."""
    found = await knowledge_of(request).documents.versions(principal_of(request), document_id, paging)
    return page_reply(VersionRead, found)


@router.get("/{document_id}/chunks", response_model=PageReply[ChunkRead])
async def list_chunks(request: Request, document_id: uuid.UUID, paging: Paging) -> dict[str, object]:
    """List the passages of a document that are searched, in their order."""
    found = await knowledge_of(request).documents.chunks(principal_of(request), document_id, paging)
    return page_reply(ChunkRead, found)


@router.get(
    "/{document_id}/content",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        302: {"description": "Where to get the file; good for a minute."},
    },
)
async def content(request: Request, document_id: uuid.UUID) -> Response:
    """Download the file that is searched, or the newest while none is."""
    return download_response(request, await knowledge_of(request).documents.content(principal_of(request), document_id))


@router.get(
    "/{document_id}/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(request: Request, document_id: uuid.UUID) -> Response:
    """Watch a document's progress as server-sent events, until it is ready, failed, cancelled or gone."""
    knowledge, principal = knowledge_of(request), principal_of(request)
    await knowledge.documents.get(principal, document_id)
    knowledge.progress.require_room(document_id)
    told = watch(knowledge.documents, knowledge.progress, principal, document_id)
    return streamed(request, told, "text/event-stream")


@administration.get("", response_model=PageReply[DocumentRead])
async def list_all(
    request: Request, paging: Paging, status: Annotated[Status | None, Query(description="Only these.")] = None
) -> dict[str, object]:
    """List everybody's documents, newest first."""
    return page_reply(DocumentRead, await knowledge_of(request).administration.page(status, paging))


@administration.post("/{document_id}/start", response_model=DocumentRead)
async def start(request: Request, document_id: uuid.UUID) -> Document:
    """Work on a document now that waits for its turn, or for its next attempt."""
    return await knowledge_of(request).administration.start(caller_of(request), document_id)


@administration.post("/{document_id}/retry", response_model=DocumentRead)
async def retry(request: Request, document_id: uuid.UUID) -> Document:
    """Go on with a failed or cancelled document from the last stage that is done."""
    return await knowledge_of(request).administration.retry(caller_of(request), document_id)


@administration.post("/{document_id}/cancel", response_model=DocumentRead)
async def cancel(request: Request, document_id: uuid.UUID) -> Document:
    """Stop working on a document; what was searched before still is."""
    return await knowledge_of(request).administration.cancel(caller_of(request), document_id)


def _entity(fields: Any) -> Entity:
    try:
        return Entity(EntityKind(fields.get("entity_type", "")), uuid.UUID(fields.get("entity_id", "")))
    except ValueError:
        raise Unprocessable(
            "say where the document belongs: entity_type collection, agent or chat, and its id as entity_id"
        ) from None


def _added(added: Added) -> Response:
    body = DocumentRead.model_validate(added.view).model_dump_json().encode()
    return json_response(body, 202 if added.is_new else 200)
