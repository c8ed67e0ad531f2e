"""The caller's own chats and messages."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from backend.features.auth.deps import principal_of
from backend.features.auth.policies import ACCOUNTS
from backend.features.history.deps import history_of
from backend.features.history.models import Chat
from backend.features.history.schemas import (
    ChatCreate,
    ChatDetail,
    ChatRead,
    ChatUpdate,
    MessageRead,
    Switch,
    SwitchRead,
)
from backend.features.history.search import MAX_QUERY
from backend.web.side_api import PageReply, Paging, SideRoute, page_reply

router = APIRouter(prefix="/api/v1", tags=["history"], route_class=SideRoute, dependencies=[ACCOUNTS])
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
