"""Making, changing, sharing and removing agents."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, InvalidRequest, NotFound, NotPermitted, Unprocessable
from backend.features.agents.collections import collections_of, link, readable
from backend.features.agents.drafts import AgentDraft, read_knowledge, write_knowledge
from backend.features.agents.index import AgentIndex, full_name
from backend.features.agents.models import Agent, AgentShare
from backend.features.agents.repository import AgentRepository, OwnedAgent, SharingRole, listed_for
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Permission, Principal
from backend.features.catalog.service import CatalogService
from backend.llm.errors import ModelNotFound
from backend.llm.names import ModelName, parse_name
from backend.wire.ollama.replies import list_capabilities

_SHARED = "this agent is shared with you; only its owner may change or publish it"
_NO_ROLE = "one of these roles is not there, or not yours to share with; GET /api/v1/roles lists those that are"

MAX_AGENTS = 200
"""Agents one account may have; all of them are kept in memory."""


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent as one caller may see it."""

    agent: Agent
    model_name: ModelName
    capabilities: Sequence[str]
    is_available: bool
    """Whether its base is there."""
    is_writable: bool
    """Whether the caller may read and change all of it; others do not see its prompt."""
    collection_ids: Sequence[uuid.UUID] = ()


class AgentService:
    """Everything about agents that is kept."""

    def __init__(self, database: Database, index: AgentIndex, catalog: CatalogService, audit: AuditLog) -> None:
        self._database = database
        self._index = index
        self._catalog = catalog
        self._audit = audit
        self._agents = AgentRepository()

    async def page(self, principal: Principal, query: PageQuery, *, own: bool = False) -> Page[AgentView]:
        """Return a piece of the list of agents the caller may use, or of their own."""
        async with self._database.reading() as session:
            found = await self._agents.page(session, listed_for(principal, own=own), query)
            names = await self._agents.trigrammes(session, {agent.owner_id for agent in found.items})
            linked = await collections_of(session, [agent.id for agent in found.items])
        views = [
            await self._view(OwnedAgent(agent, names[agent.owner_id]), principal, linked.get(agent.id, ()))
            for agent in found.items
        ]
        return Page(views, found.total, found.skip, found.limit)

    async def get(self, principal: Principal, agent_id: uuid.UUID) -> AgentView:
        """Return an agent the caller may use; raise `NotFound` for any other."""
        async with self._database.reading() as session:
            owned = await self._usable(session, principal, agent_id)
            linked = await collections_of(session, [agent_id])
        return await self._view(owned, principal, linked.get(agent_id, ()))

    async def create(self, caller: Caller, draft: AgentDraft) -> AgentView:
        """Make an agent of the caller's; raise `Conflict` when they have one of that name."""
        principal = caller.principal
        owner_id = require_owner(principal)
        draft = await self._resolved(principal, draft.checked())
        _require_usable(principal, full_name(principal.trigramme, draft.name))
        await self._require_free(full_name(principal.trigramme, draft.name))
        async with self._database.transaction() as session:
            if await self._agents.named(session, owner_id, draft.name) is not None:
                raise Conflict(
                    f"you have an agent named '{draft.name}' already; choose another name or change that one"
                )
            if await self._agents.count_of(session, owner_id) >= MAX_AGENTS:
                raise Conflict(f"you have {MAX_AGENTS} agents, the most there may be; delete one first")
            agent = Agent(owner_id=owner_id, name=draft.name, shares=[])
            await self._fill(session, principal, agent, draft)
            await self._agents.add(session, agent)
            await self._link(session, agent, draft)
            await self._note(session, caller, "agent.create", agent, draft)
        await self._index.changed()
        return await self._view(OwnedAgent(agent, principal.trigramme), principal, sorted(draft.collection_ids))

    async def replace(self, caller: Caller, agent_id: uuid.UUID, draft: AgentDraft) -> AgentView:
        """Make an agent what the draft says; only its owner may, and whoever manages agents."""
        caller.principal.require(Permission.WRITE_AGENTS)
        draft = draft.checked()
        return await self._become(caller, await self.get(caller.principal, agent_id), draft)

    async def update(
        self, caller: Caller, agent_id: uuid.UUID, change: Callable[[AgentDraft], AgentDraft]
    ) -> AgentView:
        """Change parts of an agent; raise `Conflict` when somebody else changed it at the same time."""
        caller.principal.require(Permission.WRITE_AGENTS)
        kept = await self.get(caller.principal, agent_id)
        if not kept.is_writable:
            raise NotPermitted(_SHARED)
        draft = change(AgentDraft.of(kept.agent, kept.collection_ids)).checked()
        return await self._become(caller, kept, draft, unchanged_since=kept.agent.updated_at)

    async def _become(
        self, caller: Caller, kept: AgentView, draft: AgentDraft, unchanged_since: datetime | None = None
    ) -> AgentView:
        principal, agent_id = caller.principal, kept.agent.id
        if not _is_same(kept.agent.model, draft.model):
            draft = await self._resolved(principal, draft)
        _require_usable(principal, replace(kept.model_name, model=draft.name))
        await self._require_free(replace(kept.model_name, model=draft.name))
        async with self._database.transaction() as session:
            owned = await self._writable(session, principal, agent_id)
            agent = owned.agent
            if unchanged_since is not None and agent.updated_at != unchanged_since:
                raise Conflict("somebody changed this agent meanwhile; look at it and send the change again")
            other = await self._agents.named(session, agent.owner_id, draft.name)
            if other is not None and other.id != agent.id:
                raise Conflict(f"there is an agent named '{draft.name}' already; choose another name")
            await self._fill(session, principal, agent, draft)
            await self._link(session, agent, draft)
            await self._note(session, caller, "agent.update", agent, draft)
        await self._index.changed()
        return await self._view(owned, principal, sorted(draft.collection_ids))

    async def delete(self, caller: Caller, agent_id: uuid.UUID) -> None:
        """Remove an agent; only its owner may, and whoever manages agents."""
        principal = caller.principal
        principal.require(Permission.WRITE_AGENTS)
        async with self._database.transaction() as session:
            owned = await self._writable(session, principal, agent_id)
            await self._note(session, caller, "agent.delete", owned.agent, None)
            await self._agents.remove(session, owned.agent)
        await self._index.changed()

    async def save(self, caller: Caller, draft: AgentDraft) -> AgentView:
        """Make an agent, or make the caller's agent of that name anew; who may use it and how it looks stays."""
        kept = await self.find_own(caller.principal, draft.checked().name)
        if kept is None:
            return await self.create(caller, draft)
        stays = replace(
            draft,
            description=draft.description or kept.description,
            is_public=kept.is_public,
            role_ids=frozenset(share.role_id for share in kept.shares),
            avatar_url=kept.avatar_url,
            learn_from_interaction=kept.learn_from_interaction,
            collection_ids=await self._collections(kept.id),
            knowledge=read_knowledge(kept.knowledge or {}),
        )
        return await self.replace(caller, kept.id, stays)

    async def publish(self, caller: Caller, agent_id: uuid.UUID) -> None:
        """Let everybody use an agent of the caller's."""
        caller.principal.require(Permission.PUBLISH_AGENTS)
        async with self._database.transaction() as session:
            agent = (await self._writable(session, caller.principal, agent_id)).agent
            agent.is_public, agent.updated_at = True, utc_now()
            await self._note(session, caller, "agent.publish", agent, None)
        await self._index.changed()

    async def roles_page(self, principal: Principal, query: PageQuery) -> Page[SharingRole]:
        """Return a piece of the list of roles with which the caller may share: their own, or all."""
        async with self._database.reading() as session:
            sees_all = _sees_all_roles(principal)
            return await self._agents.roles_page(session, principal.role_id, query, sees_all=sees_all)

    async def find_own(self, principal: Principal, name: str) -> Agent | None:
        """Return the caller's agent of a name, or None."""
        async with self._database.reading() as session:
            return await self._agents.named(session, require_owner(principal), name)

    async def _resolved(self, principal: Principal, draft: AgentDraft) -> AgentDraft:
        """Return the draft upon a model of a backend that the caller may use."""
        try:
            model = await self._catalog.resolve(draft.model, principal)
        except ModelNotFound as error:
            raise Unprocessable(f"the base {error.message}; choose one that is listed for you") from None
        except InvalidRequest:
            raise Unprocessable("the base model's name is not a model name") from None
        if model.preset is None:
            return replace(draft, model=model.name.short)
        return draft.upon(model.preset).checked()

    async def _require_free(self, name: ModelName) -> None:
        if await self._catalog.find_base(name) is not None:
            raise Conflict(f"'{name.short}' is a model of a backend; choose another name")

    async def _fill(self, session: Transaction, principal: Principal, agent: Agent, draft: AgentDraft) -> None:
        kept = {share.role_id: share for share in agent.shares}
        wanted = draft.role_ids | await self._named_roles(session, draft.roles)
        added = wanted - kept.keys()
        if (draft.is_public and not agent.is_public) or added:
            principal.require(Permission.PUBLISH_AGENTS)
        if added:
            await self._check_roles(session, principal, added)
        agent.name, agent.model, agent.description = draft.name, draft.model, draft.description
        agent.system_prompt = draft.system_prompt
        agent.parameters, agent.messages = dict(draft.parameters or {}), list(draft.messages)
        agent.is_public, agent.avatar_url = draft.is_public, draft.avatar_url
        agent.learn_from_interaction, agent.knowledge = draft.learn_from_interaction, write_knowledge(draft.knowledge)
        agent.shares = [kept.get(role_id) or AgentShare(role_id=role_id) for role_id in sorted(wanted)]
        agent.updated_at = utc_now()  # even when only the shares changed

    async def _link(self, session: Transaction, agent: Agent, draft: AgentDraft) -> None:
        """Let an agent answer from the collections of the draft; its owner must be allowed to read those it gains."""
        kept = frozenset((await collections_of(session, [agent.id])).get(agent.id, ()))
        added = draft.collection_ids - kept
        if added and not added <= await readable(session, agent.owner_id, added):
            raise Unprocessable("one of these collections is not there for the agent's owner; choose one of theirs")
        await link(session, agent.id, added, kept - draft.collection_ids)

    async def _collections(self, agent_id: uuid.UUID) -> frozenset[uuid.UUID]:
        async with self._database.reading() as session:
            return frozenset((await collections_of(session, [agent_id])).get(agent_id, ()))

    async def _named_roles(self, session: Transaction, names: frozenset[str]) -> frozenset[uuid.UUID]:
        found = await self._agents.roles_named(session, names) if names else {}
        if names - found.keys():
            raise Unprocessable(_NO_ROLE)
        return frozenset(found.values())

    async def _check_roles(self, session: Transaction, principal: Principal, wanted: frozenset[uuid.UUID]) -> None:
        """Refuse roles that are not there for the caller: their own, or any for those who see all."""
        there = await self._agents.roles(session, wanted)
        if not wanted <= (there if _sees_all_roles(principal) else there & {principal.role_id}):
            raise Unprocessable(_NO_ROLE)

    async def _usable(self, session: Transaction, principal: Principal, agent_id: uuid.UUID) -> OwnedAgent:
        owned = await self._agents.usable(session, principal, agent_id)
        if owned is None:
            raise NotFound("there is no such agent")
        return owned

    async def _writable(self, session: Transaction, principal: Principal, agent_id: uuid.UUID) -> OwnedAgent:
        owned = await self._usable(session, principal, agent_id)
        if not _may_write(owned.agent, principal):
            raise NotPermitted(_SHARED)
        return owned

    async def _view(self, owned: OwnedAgent, principal: Principal, linked: Sequence[uuid.UUID]) -> AgentView:
        agent = owned.agent
        base = parse_name(agent.model)
        model = None if base is None else await self._catalog.find_base(base)
        return AgentView(
            agent,
            full_name(owned.trigramme, agent.name),
            [] if model is None else list_capabilities(model.info),
            model is not None,
            _may_write(agent, principal),
            linked,
        )

    async def _note(
        self, session: Transaction, caller: Caller, action: str, agent: Agent, draft: AgentDraft | None
    ) -> None:
        told: dict[str, object] = {"name": agent.name, "model": agent.model, "is_public": agent.is_public}
        if draft is not None:
            told["role_ids"] = [str(share.role_id) for share in agent.shares]
            told["collection_ids"] = sorted(map(str, draft.collection_ids))
        await self._audit.record(session, caller, action, Subject("agent", agent.id, agent.owner_id), told)


def require_owner(principal: Principal) -> uuid.UUID:
    """Return whose agents a caller makes; raise `NotPermitted` for one who cannot have any."""
    if principal.user_id is None or not principal.trigramme:
        raise NotPermitted("agents belong to accounts: log in, or send a key of your account")
    principal.require(Permission.WRITE_AGENTS)
    return principal.user_id


def _require_usable(principal: Principal, name: ModelName) -> None:
    """Refuse a name that is not among those a caller's key is bound to."""
    if not principal.may_use(name):
        raise NotPermitted(f"your key is not for '{name.short}'; use one that is")


def _sees_all_roles(principal: Principal) -> bool:
    return principal.may(Permission.MANAGE_ROLES) or principal.may(Permission.MANAGE_AGENTS)


def _may_write(agent: Agent, principal: Principal) -> bool:
    return agent.owner_id == principal.user_id or principal.may(Permission.MANAGE_AGENTS)


def _is_same(kept: str, wanted: str) -> bool:
    one, other = parse_name(kept), parse_name(wanted)
    return one is not None and other is not None and one.key == other.key
