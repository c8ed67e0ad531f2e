"""What agents remember of the caller."""

import uuid

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.auth.deps import principal_of
from backend.features.auth.policies import ACCOUNTS
from backend.features.memory.deps import memory_of
from backend.features.memory.schemas import MemoryRead
from backend.web.side_api import PageReply, Paging, SideRoute, page_reply

router = APIRouter(prefix="/api/v1/memories", tags=["memory"], route_class=SideRoute, dependencies=[ACCOUNTS])


@router.get("", response_model=PageReply[MemoryRead])
async def list_memories(request: Request, paging: Paging, agent_id: uuid.UUID | None = None) -> dict[str, object]:
    """List what agents remember of you, the newest first: all, or what one agent does."""
    return page_reply(MemoryRead, await memory_of(request).page(principal_of(request), paging, agent_id))


@router.delete("", status_code=204)
async def remove_memories(request: Request, agent_id: uuid.UUID) -> Response:
    """Let an agent forget all it remembers of you, off the disk too."""
    await memory_of(request).remove_all(principal_of(request), agent_id)
    return Response(status_code=204)


@router.delete("/{memory_id}", status_code=204)
async def remove_memory(request: Request, memory_id: uuid.UUID) -> Response:
    """Let an agent forget one exchange with you."""
    await memory_of(request).remove(principal_of(request), memory_id)
    return Response(status_code=204)
