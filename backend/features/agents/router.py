"""Agents for their owners, and for those they are shared with; to Ollama's clients they are models."""

import uuid

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.agents.deps import agents_of
from backend.features.agents.schemas import AgentRead, AgentUpdate, AgentWrite, RoleNamed
from backend.features.agents.service import AgentView
from backend.features.audit.deps import caller_of
from backend.features.auth.deps import principal_of
from backend.features.auth.policies import ACCOUNTS, permitted
from backend.features.auth.principal import Permission
from backend.web.side_api import PageReply, Paging, SideRoute, page_reply

_BODY_BYTES = 2**20
"""Room for the longest prompt and openers, escaped."""

router = APIRouter(
    prefix="/api/v1/agents",
    tags=["agents"],
    route_class=SideRoute,
    dependencies=[ACCOUNTS],
    max_body_size=_BODY_BYTES,
)
sharing = APIRouter(
    prefix="/api/v1/roles",
    tags=["agents"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.PUBLISH_AGENTS)],
)
administration = APIRouter(
    prefix="/api/v1/admin/agents",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.MANAGE_AGENTS)],
)


@router.get("", response_model=PageReply[AgentRead])
async def list_usable(request: Request, paging: Paging) -> dict[str, object]:
    """List the agents you may use."""
    return page_reply(AgentRead, await agents_of(request).page(principal_of(request), paging))


@router.get("/my", response_model=PageReply[AgentRead])
async def list_own(request: Request, paging: Paging) -> dict[str, object]:
    """List your own agents."""
    return page_reply(AgentRead, await agents_of(request).page(principal_of(request), paging, own=True))


@router.post("", status_code=201, response_model=AgentRead)
async def create(request: Request, body: AgentWrite) -> AgentView:
    """Make an agent; takes `agents:write`, and to share it `agents:publish`."""
    return await agents_of(request).create(caller_of(request), body.draft())


@router.get("/{agent_id}", response_model=AgentRead)
async def show(request: Request, agent_id: uuid.UUID) -> AgentView:
    """Show an agent you may use."""
    return await agents_of(request).get(principal_of(request), agent_id)


@router.put("/{agent_id}", response_model=AgentRead)
async def change(request: Request, agent_id: uuid.UUID, body: AgentWrite) -> AgentView:
    """Make an agent of yours what the body says; what it does not say takes its default."""
    return await agents_of(request).replace(caller_of(request), agent_id, body.draft())


@router.patch("/{agent_id}", response_model=AgentRead)
async def change_parts(request: Request, agent_id: uuid.UUID, body: AgentUpdate) -> AgentView:
    """Change what the body names of an agent of yours; `parameters` replaces all options but the temperature."""
    return await agents_of(request).update(caller_of(request), agent_id, body.change)


@router.delete("/{agent_id}", status_code=204)
async def remove(request: Request, agent_id: uuid.UUID) -> Response:
    """Remove an agent of yours."""
    await agents_of(request).delete(caller_of(request), agent_id)
    return Response(status_code=204)


@sharing.get("", response_model=PageReply[RoleNamed])
async def list_roles_to_share_with(request: Request, paging: Paging) -> dict[str, object]:
    """List the roles with which you may share agents: your own, or all where you manage agents or roles."""
    return page_reply(RoleNamed, await agents_of(request).roles_page(principal_of(request), paging))


@administration.get("", response_model=PageReply[AgentRead])
async def list_all(request: Request, paging: Paging) -> dict[str, object]:
    """List everybody's agents; they are changed and removed where their owners do it."""
    return page_reply(AgentRead, await agents_of(request).page(principal_of(request), paging))
