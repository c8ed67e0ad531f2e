"""What a request may search, decided in SQL from who asks; nothing a client sends becomes a condition.

Rights are asked twice: which collections there are to search, and again for every passage that was found
(`permits`), with the rights as they are then. A passage that fails the second time is dropped and counted.
"""

import uuid
from collections.abc import Collection as AnyOf
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Select, Uuid, and_, column, exists, false, func, or_, select, table

from backend.core.db.database import Transaction
from backend.core.errors import InvalidRequest
from backend.features.agents.models import Agent
from backend.features.agents.repository import usable_ids
from backend.features.auth.principal import Principal
from backend.features.knowledge.languages import Language
from backend.features.knowledge.models import AgentCollection, Chunk, Collection, CollectionShare, Document

_users = table("users", column("id", Uuid()), column("role_id", Uuid()), column("is_active"))
_owners = _users.alias("agent_owners")


@dataclass(frozen=True, slots=True)
class Scope:
    """What one request may search."""

    named: frozenset[uuid.UUID] = frozenset()
    """Collections the caller named and may read."""
    through_agent: frozenset[uuid.UUID] = frozenset()
    """Collections of the agent that its owner may read."""
    agent_id: uuid.UUID | None = None
    """The agent, if the caller may use it."""
    chat_id: uuid.UUID | None = None
    has_attachments: bool = True
    """Whether documents of the agent and the chat themselves are searched too."""

    @property
    def collections(self) -> frozenset[uuid.UUID]:
        """All collections."""
        return self.named | self.through_agent

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to search."""
        return not self.collections and self.own_agent is None and self.own_chat is None

    def without_attachments(self) -> "Scope":
        """Return the collections alone."""
        return replace(self, has_attachments=False)

    @property
    def own_agent(self) -> uuid.UUID | None:
        """The agent whose own documents are searched."""
        return self.agent_id if self.has_attachments else None

    @property
    def own_chat(self) -> uuid.UUID | None:
        """The chat whose documents are searched."""
        return self.chat_id if self.has_attachments else None


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a scope holds now."""

    documents: int
    changed_at: datetime | None
    languages: tuple[Language, ...]


async def resolve(
    session: Transaction,
    principal: Principal,
    *,
    agent_id: uuid.UUID | None = None,
    chat_id: uuid.UUID | None = None,
    wanted: Sequence[str] = (),
) -> Scope:
    """Return what a caller may search; raise `InvalidRequest` for a collection that is not there for them.

    Args:
        session: to ask in.
        principal: who asks.
        agent_id: the agent that is asked.
        chat_id: the chat that is continued; only documents of the caller's own are searched in it.
        wanted: ids or names of collections.
    """
    named = await _named(session, principal, wanted) if wanted else frozenset()
    through: frozenset[uuid.UUID] = frozenset()
    if agent_id is not None:
        if await session.scalar(usable_ids(principal).where(Agent.id == agent_id)) is None:
            agent_id = None
        else:
            through = frozenset(await session.scalars(_through(principal, agent_id)))
    return Scope(named, through, agent_id, chat_id if principal.user_id is not None else None)


async def readable_scope(session: Transaction, principal: Principal, collection_id: uuid.UUID) -> Scope | None:
    """Return one collection that a caller may read, or None."""
    found = select(Collection.id).where(Collection.id == collection_id, readable_by(principal))
    return None if await session.scalar(found) is None else Scope(frozenset({collection_id}))


async def holdings(session: Transaction, principal: Principal, scope: Scope) -> Holdings:
    """Return what a scope holds, and when that changed last: what was found before then may be found no more."""
    rows = await session.execute(
        select(Document.language, func.count(), func.max(Document.updated_at))
        .where(permits(principal, scope), Document.ready_version.is_not(None))
        .group_by(Document.language)
    )
    found = rows.all()
    known = {language for language, _, _ in found if language in set(Language)}
    languages = tuple(language for language in Language if language.value in known)
    changed = max((_ for *_rest, _ in found if _ is not None), default=None)
    return Holdings(sum(count for _, count, _ in found), changed, languages or tuple(Language))


def searched(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on passages by what was decided before: quick, for searching in."""
    ways: list[ColumnElement[bool]] = [false()]
    if scope.collections:
        ways.append(Chunk.collection_id.in_(scope.collections))
    if scope.own_agent is not None:
        ways.append(Chunk.agent_id == scope.own_agent)
    if scope.own_chat is not None:
        ways.append(Chunk.chat_id == scope.own_chat)
    return and_(Chunk.is_live, or_(*ways))


def permits(principal: Principal, scope: Scope) -> ColumnElement[bool]:
    """Return the condition on documents by the rights as they are now, for what was found."""
    ways: list[ColumnElement[bool]] = [false()]
    if scope.named:
        readable = select(Collection.id).where(Collection.id.in_(scope.named), readable_by(principal))
        ways.append(Document.collection_id.in_(readable))
    if scope.agent_id is not None:
        ways.append(Document.collection_id.in_(_through(principal, scope.agent_id)))
    if scope.own_agent is not None:
        ways.append(Document.agent_id.in_(usable_ids(principal).where(Agent.id == scope.own_agent)))
    if scope.own_chat is not None and principal.user_id is not None:
        ways.append(and_(Document.chat_id == scope.own_chat, Document.owner_id == principal.user_id))
    return or_(*ways)


def readable_by(principal: Principal) -> ColumnElement[bool]:
    """Return the condition under which a caller may read a collection: it is theirs, shared with them, or public."""
    ways: list[ColumnElement[bool]] = [Collection.is_public.is_(True)]
    if principal.user_id is not None:
        ways.append(Collection.owner_id == principal.user_id)
    if principal.role_id is not None:
        ways.append(_is_shared_with(principal.role_id))
    return and_(or_(*ways), _owner_is_active())


def _through(principal: Principal, agent_id: uuid.UUID) -> Select[uuid.UUID]:
    """Return the statement for the collections of an agent the caller may use, as far as its owner may read them."""
    owner_reads = or_(
        Collection.is_public.is_(True),
        Collection.owner_id == Agent.owner_id,
        exists().where(CollectionShare.collection_id == Collection.id, CollectionShare.role_id == _owners.c.role_id),
    )
    return (
        select(AgentCollection.collection_id)
        .join(Collection, Collection.id == AgentCollection.collection_id)
        .join(Agent, Agent.id == AgentCollection.agent_id)
        .join(_owners, _owners.c.id == Agent.owner_id)
        .where(
            AgentCollection.agent_id == agent_id,
            AgentCollection.agent_id.in_(usable_ids(principal).where(Agent.id == agent_id)),
            owner_reads,
            _owner_is_active(),
        )
    )


def _is_shared_with(role_id: uuid.UUID) -> ColumnElement[bool]:
    return exists().where(CollectionShare.collection_id == Collection.id, CollectionShare.role_id == role_id)


def _owner_is_active() -> ColumnElement[bool]:
    return exists().where(_users.c.id == Collection.owner_id, _users.c.is_active)


async def _named(session: Transaction, principal: Principal, wanted: Sequence[str]) -> frozenset[uuid.UUID]:
    ids = {text: row_id for text in wanted if (row_id := _as_id(text)) is not None}
    rows = await session.execute(
        select(Collection.id, Collection.name, Collection.owner_id).where(
            readable_by(principal), or_(Collection.id.in_(ids.values()), Collection.name.in_(wanted))
        )
    )
    found = [(row_id, name, owner_id) for row_id, name, owner_id in rows]
    return frozenset(_choose(text, ids.get(text), found, principal) for text in wanted)


def _choose(
    text: str, row_id: uuid.UUID | None, found: AnyOf[tuple[uuid.UUID, str, uuid.UUID]], principal: Principal
) -> uuid.UUID:
    """Return the collection that a text means: by id, then the caller's own of that name, then the only one."""
    if row_id is not None and any(row_id == known for known, _, _ in found):
        return row_id
    alike = [(known, owner_id) for known, name, owner_id in found if name == text]
    own = [known for known, owner_id in alike if owner_id == principal.user_id]
    if len(own or alike) == 1:
        return own[0] if own else alike[0][0]
    if alike:
        raise InvalidRequest(f"several collections are named '{text[:100]}'; say in X-RAG which one by its id")
    way = "" if principal.user_id is not None else "; send a key of an account that may search it"
    raise InvalidRequest(f"X-RAG names a collection that is not there for you: '{text[:100]}'{way}")


def _as_id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
