"""The caller's own chats and messages."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

from backend.features.auth.deps import context_of, principal_of
from backend.features.auth.policies import ACCOUNTS
from backend.features.history.deps import followers_of, history_of, sending_of
from backend.features.history.exporting import Export, JsonWriter, MarkdownWriter, Writer
from backend.features.history.models import Chat, StoredMessage
from backend.features.history.schemas import (
    ChatCreate,
    ChatDetail,
    ChatExport,
    ChatRead,
    ChatUpdate,
    Followed,
    MessageRead,
    MessageSend,
    Sent,
    SourcesRead,
    Switch,
    SwitchRead,
)
from backend.features.history.search import MAX_QUERY
from backend.llm.ports import Answer
from backend.web.openapi import json_body
from backend.web.replies import JSON
from backend.web.side_api import Invalid, PageReply, Paging, SideRoute, page_reply
from backend.web.streaming import respond

router = APIRouter(prefix="/api/v1", tags=["history"], route_class=SideRoute, dependencies=[ACCOUNTS])
ExportFormat = Literal["json", "markdown"]
_ENDINGS: Mapping[ExportFormat, str] = {"json": "json", "markdown": "md"}
Wanted = Annotated[
    str | None, Query(min_length=1, max_length=MAX_QUERY, description="Words that its title or a message holds.")
]


@router.get("/chats", response_model=PageReply[ChatRead])
async def list_chats(request: Request, paging: Paging, q: Wanted = None) -> dict[str, object]:
    """List your chats, the one used last first."""
    return page_reply(ChatRead, await history_of(request).page(principal_of(request), paging, q))


@router.post("/chats", status_code=201, response_model=ChatRead)
async def create_chat(request: Request, body: ChatCreate) -> Chat:
    """Make an empty chat."""
    return await history_of(request).create(principal_of(request), body.title)


@router.get("/chats/{chat_id}")
async def show_chat(request: Request, chat_id: uuid.UUID) -> ChatDetail:
    """Show a chat of yours with its last messages."""
    chat, messages = await history_of(request).read(principal_of(request), chat_id)
    shown = ChatRead.model_validate(chat).model_dump()
    return ChatDetail(**shown, messages=[MessageRead.model_validate(message) for message in messages])


@router.patch("/chats/{chat_id}", response_model=ChatRead)
async def rename_chat(request: Request, chat_id: uuid.UUID, body: ChatUpdate) -> Chat:
    """Call a chat of yours something else."""
    return await history_of(request).rename(principal_of(request), chat_id, body.title)


@router.put("/chats/{chat_id}", response_model=ChatRead)
async def replace_chat(request: Request, chat_id: uuid.UUID, body: ChatUpdate) -> Chat:
    """Call a chat of yours something else, as PATCH does."""
    return await history_of(request).rename(principal_of(request), chat_id, body.title)


@router.delete("/chats/{chat_id}", status_code=204)
async def remove_chat(request: Request, chat_id: uuid.UUID) -> Response:
    """Remove a chat of yours with all its messages."""
    await history_of(request).remove(principal_of(request), chat_id)
    return Response(status_code=204)


@router.get("/messages/chat/{chat_id}", response_model=PageReply[MessageRead])
async def list_messages(request: Request, chat_id: uuid.UUID, paging: Paging) -> dict[str, object]:
    """List the messages of a chat of yours, in their order."""
    return page_reply(MessageRead, await history_of(request).messages(principal_of(request), chat_id, paging))


@router.get("/messages/{message_id}/sources", response_model=SourcesRead)
async def list_sources(request: Request, message_id: uuid.UUID) -> StoredMessage:
    """List what an answer of a chat of yours was given of your documents, by the numbers it cites."""
    return await history_of(request).sourced(principal_of(request), message_id)


@router.post(
    "/messages", response_model=Sent, openapi_extra=json_body(MessageSend), responses={422: {"model": Invalid}}
)
async def send_message(request: Request) -> Response:
    """Ask a question in a chat of yours, or in a new one; with `Idempotency-Key` the same reply for a day."""
    key, context = request.headers.get("idempotency-key"), context_of(request)

    async def answer(raw: bytes) -> Answer | bytes:
        return await sending_of(request).send(_read(raw), raw, context, key)

    return await respond(request, SideRoute.limits, answer)


@router.get("/messages/stream/{chat_id}", response_model=Followed)
async def follow_chat(request: Request, chat_id: uuid.UUID) -> Response:
    """Follow what happens in a chat of yours, as server-sent events."""

    async def follow(_raw: bytes) -> Answer:
        return await followers_of(request).follow(principal_of(request), chat_id)

    return await respond(request, SideRoute.limits, follow)


@router.get("/chats/{chat_id}/export", response_model=ChatExport)
async def export_chat(request: Request, chat_id: uuid.UUID, format: ExportFormat = "json") -> Response:  # noqa: A002 (its name outside)
    """Take a chat of yours along, with all its messages: as JSON, or as Markdown to read."""
    service, principal = history_of(request), principal_of(request)

    async def export(_raw: bytes) -> Answer:
        writer: Writer = JsonWriter(JSON, b"") if format == "json" else MarkdownWriter()
        return await Export(service.export_one(await service.get(principal, chat_id)), writer).prime()

    name = f'attachment; filename="chat-{chat_id}.{_ENDINGS[format]}"'
    return await respond(request, SideRoute.limits, export, [(b"content-disposition", name.encode())])


@router.get("/export", response_model=ChatExport)
async def export_all(request: Request) -> Response:
    """Take all your chats along: one chat a line, each as JSON with all its messages, the newest made first.

    Then what agents remember of you, one exchange a line, with `"kind": "memory"`.
    """
    service, principal = history_of(request), principal_of(request)

    async def export(_raw: bytes) -> Answer:
        return await Export(service.export(principal), JsonWriter(), service.further(principal)).prime()

    return await respond(request, SideRoute.limits, export)


def _read(raw: bytes) -> MessageSend:
    try:
        return MessageSend.model_validate_json(raw or b"{}")
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


@router.delete("/history", status_code=204)
async def remove_history(request: Request) -> Response:
    """Remove all your chats."""
    await history_of(request).remove_all(principal_of(request))
    return Response(status_code=204)


@router.get("/keys/{key_id}/history", response_model=SwitchRead)
async def show_key_switch(request: Request, key_id: uuid.UUID) -> dict[str, bool]:
    """Tell whether conversations with a key of yours are kept."""
    return {"enabled": await history_of(request).keeps(principal_of(request), "key", key_id)}


@router.put("/keys/{key_id}/history", response_model=SwitchRead)
async def switch_key(request: Request, key_id: uuid.UUID, body: Switch) -> Switch:
    """Say whether conversations with a key of yours are kept."""
    await history_of(request).switch(principal_of(request), "key", key_id, keep=body.enabled)
    return body


@router.get("/agents/{agent_id}/history", response_model=SwitchRead)
async def show_agent_switch(request: Request, agent_id: uuid.UUID) -> dict[str, bool]:
    """Tell whether anybody's conversations with an agent of yours are kept."""
    return {"enabled": await history_of(request).keeps(principal_of(request), "agent", agent_id)}


@router.put("/agents/{agent_id}/history", response_model=SwitchRead)
async def switch_agent(request: Request, agent_id: uuid.UUID, body: Switch) -> Switch:
    """Say whether anybody's conversations with an agent of yours are kept."""
    await history_of(request).switch(principal_of(request), "agent", agent_id, keep=body.enabled)
    return body
