"""The queries for agents; each takes the caller, so that what is not theirs is not found."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, Uuid, and_, column, exists, false, func, or_, select, table, true
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.pages import Page, PageQuery
from backend.core.db.repository import Repository
from backend.features.agents.collections import KnowledgeRevision, revision
from backend.features.agents.models import Agent, AgentShare
from backend.features.auth.principal import Permission, Principal
from backend.llm.names import DEFAULT_HOST, DEFAULT_TAG, parse_name

_users = table("users", column("id", Uuid()), column("trigramme"), column("is_active"))
_roles = table("roles", column("id", Uuid()), column("name"))
_owned = Agent.owner_id == _users.c.id


@dataclass(frozen=True, slots=True)
class OwnedAgent:
    """An agent with its owner's trigramme, which is the first part of its name."""

    agent: Agent
    trigramme: str


@dataclass(frozen=True, slots=True)
class SharingRole:
    """A role as those see it who share agents with it."""

    id: uuid.UUID
    name: str


@dataclass(frozen=True, slots=True)
class Revision:
    """What tells whether agents changed since it was read, without reading them."""

    newest: datetime | None
    agents: int
    shares: int
    owners: frozenset[tuple[uuid.UUID, str, bool]]
    knowledge: KnowledgeRevision


class AgentRepository(Repository[Agent]):
    """Finds agents for those who may see or change them."""

    def __init__(self) -> None:
        super().__init__(Agent)

    async def revision(self, session: AsyncSession) -> Revision:
        """Return how things stand."""
        newest, agents = (await session.execute(select(func.max(Agent.updated_at), func.count()))).one()
        shares = await session.scalar(select(func.count()).select_from(AgentShare))
        owners = await session.execute(
            select(_users.c.id, _users.c.trigramme, _users.c.is_active).where(exists().where(_owned))
        )
        knowledge = await revision(session)
        return Revision(newest, agents, shares or 0, frozenset(tuple(row) for row in owners), knowledge)

    async def everything(self, session: AsyncSession) -> Sequence[OwnedAgent]:
        """Return every agent whose owner's account is active."""
        return await self._owned(session, select(Agent).where(_users.c.is_active))

    async def usable(self, session: AsyncSession, principal: Principal, agent_id: uuid.UUID) -> OwnedAgent | None:
        """Return an agent the caller may use, or None."""
        found = await self._owned(session, select(Agent).where(Agent.id == agent_id, usable_by(principal)))
        return found[0] if found else None

    async def named(self, session: AsyncSession, owner_id: uuid.UUID, name: str) -> Agent | None:
        """Return an owner's agent by its name, or None."""
        return await self.one(session, select(Agent).where(Agent.owner_id == owner_id, Agent.name == name))

    async def count_of(self, session: AsyncSession, owner_id: uuid.UUID) -> int:
        """Return how many agents somebody has."""
        return await session.scalar(select(func.count()).where(Agent.owner_id == owner_id)) or 0

    async def trigrammes(self, session: AsyncSession, owner_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
        """Return the first parts of the names of some people's agents."""
        found = await session.execute(select(_users.c.id, _users.c.trigramme).where(_users.c.id.in_(owner_ids)))
        return {owner_id: trigramme for owner_id, trigramme in found}  # noqa: C416 (rows, not pairs)

    async def roles(self, session: AsyncSession, wanted: Collection[uuid.UUID]) -> frozenset[uuid.UUID]:
        """Return those of these roles that there are."""
        return frozenset(await session.scalars(select(_roles.c.id).where(_roles.c.id.in_(wanted))))

    async def roles_named(self, session: AsyncSession, names: Collection[str]) -> Mapping[str, uuid.UUID]:
        """Return those of these roles that there are, by name."""
        found = await session.execute(select(_roles.c.name, _roles.c.id).where(_roles.c.name.in_(names)))
        return {name: role_id for name, role_id in found}  # noqa: C416 (rows, not pairs)

    async def roles_page(
        self, session: AsyncSession, only: uuid.UUID | None, query: PageQuery, *, sees_all: bool
    ) -> Page[SharingRole]:
        """Return a piece of the list of roles by name: all, or only one."""
        statement = select(_roles.c.id, _roles.c.name).where(true() if sees_all else _roles.c.id == only)
        total = await session.scalar(select(func.count()).select_from(statement.subquery())) or 0
        found = await session.execute(statement.order_by(_roles.c.name).offset(query.skip).limit(query.limit))
        return Page([SharingRole(role_id, name) for role_id, name in found], total, query.skip, query.limit)

    async def _owned(self, session: AsyncSession, statement: Select[Agent]) -> Sequence[OwnedAgent]:
        joined = statement.add_columns(_users.c.trigramme).join(_users, _owned)
        return [OwnedAgent(agent, trigramme) for agent, trigramme in await session.execute(joined)]


def listed_for(principal: Principal, *, own: bool) -> Select[Agent]:
    """Return the statement for the agents a caller may use, or only their own, by name."""
    usable = usable_by(principal)
    who = and_(usable, Agent.owner_id == principal.user_id) if own else usable
    return select(Agent).join(_users, _owned).where(who).order_by(Agent.name, Agent.id)


def usable_ids(principal: Principal) -> Select[uuid.UUID]:
    """Return the statement for the ids of the agents a caller may use."""
    return select(Agent.id).join(_users, _owned).where(usable_by(principal))


def usable_by(principal: Principal) -> ColumnElement[bool]:
    """Return the condition under which a caller may use an agent whose owner is joined.

    `AgentIndex` decides alike, from memory. Agents of suspended accounts are for those who manage agents.
    """
    listed = true() if principal.models is None else _named_by(principal.models)
    if principal.may(Permission.MANAGE_AGENTS):
        return listed
    ways: list[ColumnElement[bool]] = [Agent.is_public.is_(True)]
    if principal.user_id is not None:
        ways.append(Agent.owner_id == principal.user_id)
    if principal.role_id is not None:
        share = (AgentShare.agent_id == Agent.id) & (AgentShare.role_id == principal.role_id)
        ways.append(exists().where(share))
    return and_(_users.c.is_active, or_(*ways), listed)


def _named_by(models: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that an agent's name is among those of models in the form in which they are compared."""
    names = [name for name in map(parse_name, models) if name is not None]
    own = [n for n in names if n.host == DEFAULT_HOST and n.tag == DEFAULT_TAG]
    return or_(false(), *(and_(_users.c.trigramme == n.namespace, Agent.name == n.model) for n in own))
