"""Which collections an agent answers from; their tables are those of the knowledge feature, named by string."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Uuid, column, delete, exists, func, insert, or_, select, table

from backend.core.db.database import Transaction

_collections = table("collections", column("id", Uuid()), column("owner_id", Uuid()), column("is_public"))
_shares = table("collection_shares", column("collection_id", Uuid()), column("role_id", Uuid()))
_links = table("agent_collections", column("agent_id", Uuid()), column("collection_id", Uuid()))
_documents = table("documents", column("agent_id", Uuid()))
_users = table("users", column("id", Uuid()), column("role_id", Uuid()))


@dataclass(frozen=True, slots=True)
class KnowledgeRevision:
    """What tells whether agents gained or lost documents."""

    links: int
    attached: int


async def revision(session: Transaction) -> KnowledgeRevision:
    """Return how things stand."""
    links = await session.scalar(select(func.count()).select_from(_links))
    attached = await session.scalar(
        select(func.count(func.distinct(_documents.c.agent_id))).where(_documents.c.agent_id.is_not(None))
    )
    return KnowledgeRevision(links or 0, attached or 0)


async def agents_with_documents(session: Transaction) -> frozenset[uuid.UUID]:
    """Return the agents that have collections or documents of their own."""
    linked = select(_links.c.agent_id)
    attached = select(_documents.c.agent_id).where(_documents.c.agent_id.is_not(None))
    return frozenset(await session.scalars(linked.union(attached)))


async def collections_of(
    session: Transaction, agent_ids: Collection[uuid.UUID]
) -> Mapping[uuid.UUID, tuple[uuid.UUID, ...]]:
    """Return the collections of some agents; those without any are left out."""
    rows = await session.execute(
        select(_links.c.agent_id, _links.c.collection_id)
        .where(_links.c.agent_id.in_(agent_ids))
        .order_by(_links.c.collection_id)
    )
    found: dict[uuid.UUID, tuple[uuid.UUID, ...]] = {}
    for agent_id, collection_id in rows:
        found[agent_id] = (*found.get(agent_id, ()), collection_id)
    return found


async def readable(session: Transaction, owner_id: uuid.UUID, wanted: Collection[uuid.UUID]) -> frozenset[uuid.UUID]:
    """Return those of these collections that somebody may read: their own, shared with their role, or public."""
    their_role = select(_users.c.role_id).where(_users.c.id == owner_id).scalar_subquery()
    shared = exists().where(_shares.c.collection_id == _collections.c.id, _shares.c.role_id == their_role)
    ways = or_(_collections.c.owner_id == owner_id, _collections.c.is_public, shared)
    return frozenset(await session.scalars(select(_collections.c.id).where(_collections.c.id.in_(wanted), ways)))


async def link(
    session: Transaction,
    agent_id: uuid.UUID,
    added: Collection[uuid.UUID],
    removed: Collection[uuid.UUID],
) -> None:
    """Change the collections of an agent."""
    if removed:
        gone = _links.c.collection_id.in_(removed)
        await session.execute(delete(_links).where(_links.c.agent_id == agent_id, gone))
    if added:
        rows = [{"agent_id": agent_id, "collection_id": collection_id} for collection_id in sorted(added)]
        await session.execute(insert(_links), rows)
