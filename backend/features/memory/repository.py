"""The queries for memories; each takes whose they are, so that what is somebody else's is not found."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.pages import PageQuery
from backend.features.agents.models import Agent
from backend.features.agents.repository import usable_ids
from backend.features.auth.principal import Principal
from backend.features.memory.exchanges import embedded
from backend.features.memory.models import Memory
from backend.features.memory.nearness import Numbered
from backend.features.memory.word_index import Whose

_memories: Any = Memory.__table__
_PRUNED = 200


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A memory without a vector of the embedder in use, and what one is made of."""

    number: int
    whose: Whose
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """A memory as it is recalled."""

    number: int
    id: uuid.UUID
    question: str
    answer: str
    digest: bytes
    created_at: datetime


def usable(principal: Principal, agent_id: uuid.UUID) -> ColumnElement[bool]:
    """Return the condition on what is one's own, of an agent one may use."""
    return and_(
        Memory.user_id == principal.user_id,
        Memory.agent_id == agent_id,
        Memory.agent_id.in_(usable_ids(principal).where(Agent.id == agent_id)),
    )


def recallable(
    principal: Principal, agent_id: uuid.UUID, since: datetime, chat_id: uuid.UUID | None
) -> ColumnElement[bool]:
    """Return the whole condition on what may be recalled: one's own, of an agent one may use, of another chat."""
    ways = [usable(principal, agent_id), Memory.created_at >= since]
    return and_(*ways) if chat_id is None else and_(*ways, Memory.chat_id != chat_id)


class MemoryRepository:
    """Finds, lists and removes memories."""

    async def count(self, session: AsyncSession, where: ColumnElement[bool]) -> int:
        """Return how many memories a condition is true of."""
        return await session.scalar(select(func.count()).select_from(Memory).where(where)) or 0

    async def numbered(
        self, session: AsyncSession, numbers: Collection[int], where: ColumnElement[bool]
    ) -> Sequence[Said]:
        """Return those memories of these numbers that a condition is true of."""
        columns = (Memory.number, Memory.id, Memory.question, Memory.answer, Memory.digest, Memory.created_at)
        rows = await session.execute(select(*columns).where(Memory.number.in_(numbers), where))
        return [Said(*row) for row in rows]

    async def of_chat(self, session: AsyncSession, chat_id: uuid.UUID | None) -> frozenset[int]:
        """Return the numbers of what was said in a chat."""
        return frozenset(await session.scalars(select(Memory.number).where(Memory.chat_id == chat_id)))

    async def stamp(self, session: AsyncSession, whose: Whose, fingerprint: str) -> tuple[int, int]:
        """Return what tells whether the vectors of somebody's memories changed, without reading them."""
        counted = select(func.count(), func.max(Memory.number)).where(_own(whose), Memory.fingerprint == fingerprint)
        count, newest = (await session.execute(counted)).one()
        return count, newest or 0

    async def vectors(self, session: AsyncSession, whose: Whose, fingerprint: str) -> Sequence[Numbered]:
        """Return the vectors that one embedder made of somebody's memories."""
        wanted = select(Memory.number, Memory.vector).where(_own(whose), Memory.fingerprint == fingerprint)
        return [(number, data) for number, data in await session.execute(wanted) if data is not None]

    async def page(
        self, session: AsyncSession, user_id: uuid.UUID, agent_id: uuid.UUID | None, query: PageQuery
    ) -> tuple[Sequence[Memory], int]:
        """Return a piece of somebody's memories, the newest first, and how many there are."""
        own = Memory.user_id == user_id
        own = own if agent_id is None else and_(own, Memory.agent_id == agent_id)
        found = _shown().where(own).order_by(Memory.number.desc()).offset(query.skip).limit(query.limit)
        rows = await session.execute(found)
        return [Memory(**row._mapping) for row in rows], await self.count(session, own)  # noqa: SLF001 (see above)

    async def before(
        self, session: AsyncSession, user_id: uuid.UUID, before: int | None, limit: int
    ) -> Sequence[Memory]:
        """Return a piece of somebody's memories in the order of their numbers, the newest first."""
        found = _shown().where(Memory.user_id == user_id).order_by(Memory.number.desc()).limit(limit)
        rows = await session.execute(found if before is None else found.where(Memory.number < before))
        return [Memory(**row._mapping) for row in rows]  # noqa: SLF001 (see above)

    async def remove(
        self,
        session: AsyncSession,
        user_id: uuid.UUID,
        *,
        memory_id: uuid.UUID | None = None,
        agent_id: uuid.UUID | None = None,
    ) -> int:
        """Remove one of somebody's memories, or all with an agent; return how many."""
        wanted = Memory.id == memory_id if memory_id is not None else Memory.agent_id == agent_id
        done: Any = await session.execute(delete(Memory).where(Memory.user_id == user_id, wanted))
        return int(done.rowcount)

    async def without_vector(
        self, session: AsyncSession, fingerprint: str, limit: int, but: Collection[int] = ()
    ) -> Sequence[Unembedded]:
        """Return memories that an embedder made no vector of, the newest first, without some."""
        columns = (Memory.number, Memory.user_id, Memory.agent_id, Memory.question, Memory.answer)
        missing = or_(Memory.fingerprint.is_(None), Memory.fingerprint != fingerprint)
        missing = and_(missing, Memory.number.not_in(but)) if but else missing
        rows = await session.execute(select(*columns).where(missing).order_by(Memory.number.desc()).limit(limit))
        return [
            Unembedded(number, Whose(user_id, agent_id), embedded(question, answer))
            for number, user_id, agent_id, question, answer in rows
        ]


def keep_vectors(connection: Connection, fingerprint: str, made: Sequence[Numbered], gone: Collection[int]) -> None:
    """Write vectors, and remove the memories whose place others take."""
    for number, data in made:
        values = {"fingerprint": fingerprint, "vector": data}
        connection.execute(update(_memories).where(_memories.c.number == number).values(values))
    if gone:
        connection.execute(delete(_memories).where(_memories.c.number.in_(gone)))


def prune(connection: Connection, before: datetime) -> int:
    """Remove some of the memories that are too old; return how many."""
    old = connection.scalars(select(_memories.c.number).where(_memories.c.created_at < before).limit(_PRUNED)).all()
    if old:
        connection.execute(delete(_memories).where(_memories.c.number.in_(old)))
    return len(old)


def _own(whose: Whose) -> ColumnElement[bool]:
    return and_(Memory.user_id == whose.user_id, Memory.agent_id == whose.agent_id)


def _shown() -> Any:
    """Return the statement for what owners see of their memories."""
    return select(
        Memory.number, Memory.id, Memory.agent_id, Memory.chat_id, Memory.question, Memory.answer, Memory.created_at
    )
