"""The queries for collections and documents; each takes the caller, so that what is not theirs is not found."""

import uuid
from collections.abc import Collection as Many
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, and_, column, exists, func, or_, select, table, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.repository import Repository
from backend.features.auth.principal import Permission, Principal
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.models import Chunk, Collection, CollectionShare, Document, DocumentVersion
from backend.features.knowledge.states import Status

_users = table("users", column("id", Document.owner_id.type), column("is_active"))
_roles = table("roles", column("id", Document.owner_id.type))
_GOING = (Status.UPLOADING, Status.DELETING)
_COLUMNS = {
    EntityKind.COLLECTION: Document.collection_id,
    EntityKind.AGENT: Document.agent_id,
    EntityKind.CHAT: Document.chat_id,
}


class Collections(Repository[Collection]):
    """Finds collections for those who may search them."""

    def __init__(self) -> None:
        super().__init__(Collection)

    async def readable(
        self, session: AsyncSession, principal: Principal, collection_id: uuid.UUID
    ) -> Collection | None:
        """Return a collection the caller may search, or None."""
        return await self.one(session, select(Collection).where(Collection.id == collection_id, readable_by(principal)))

    async def named(self, session: AsyncSession, name: str, owner_id: uuid.UUID) -> Collection | None:
        """Return an owner's collection by its name, or None."""
        return await self.one(
            session, select(Collection).where(Collection.owner_id == owner_id, Collection.name == name)
        )

    async def all_named(self, session: AsyncSession, name: str) -> Sequence[Collection]:
        """Return everybody's collections of a name."""
        return (await session.scalars(select(Collection).where(Collection.name == name).limit(100))).all()

    async def count_of(self, session: AsyncSession, owner_id: uuid.UUID) -> int:
        """Return how many collections somebody has."""
        return await session.scalar(select(func.count()).where(Collection.owner_id == owner_id)) or 0

    async def roles(self, session: AsyncSession, wanted: Many[uuid.UUID]) -> frozenset[uuid.UUID]:
        """Return those of these roles that there are."""
        return frozenset(await session.scalars(select(_roles.c.id).where(_roles.c.id.in_(wanted))))


class Documents(Repository[Document]):
    """Finds documents; who may see them is decided by what they are in."""

    def __init__(self) -> None:
        super().__init__(Document)

    async def shown(self, session: AsyncSession, document_id: uuid.UUID) -> Document | None:
        """Return a document that was acknowledged, or None."""
        found = select(Document).where(Document.id == document_id, Document.status != Status.UPLOADING)
        return await self.one(session, found)

    async def lock(self, session: AsyncSession, document_id: uuid.UUID) -> Document | None:
        """Return a document that was acknowledged, which nobody else changes before this transaction ends."""
        found = select(Document).where(Document.id == document_id, Document.status != Status.UPLOADING)
        return await self.one(session, found.with_for_update())

    async def lock_owner(self, session: AsyncSession, owner_id: uuid.UUID) -> None:
        """Wait until nobody else adds documents of this owner."""
        await session.execute(select(_users.c.id).where(_users.c.id == owner_id).with_for_update())

    async def same(self, session: AsyncSession, owner_id: uuid.UUID, entity: Entity, sha256: str) -> Document | None:
        """Return a document in the same place whose newest file has these bytes, or None."""
        found = select(Document).where(
            Document.owner_id == owner_id, Document.sha256 == sha256, within(entity), Document.status.not_in(_GOING)
        )
        return (await session.scalars(found.order_by(Document.created_at).limit(1))).first()

    async def waiting(self, session: AsyncSession, owner_id: uuid.UUID) -> int:
        """Return how many documents of an owner wait, or are worked on."""
        under_way = (Status.QUEUED, Status.RUNNING)
        found = select(func.count()).where(Document.owner_id == owner_id, Document.status.in_(under_way))
        return await session.scalar(found) or 0

    async def count_live(self, session: AsyncSession, document_id: uuid.UUID) -> int:
        """Return how many passages of a document are searched."""
        found = select(func.count()).where(Chunk.document_id == document_id, Chunk.is_live)
        return await session.scalar(found) or 0

    async def last_version(self, session: AsyncSession, document_id: uuid.UUID) -> int:
        """Return the highest number a file of a document was given."""
        found = select(func.max(DocumentVersion.version)).where(DocumentVersion.document_id == document_id)
        return await session.scalar(found) or 0

    async def ids(self, session: AsyncSession, entity: Entity) -> list[uuid.UUID]:
        """Return which documents are in a place."""
        return list(await session.scalars(select(Document.id).where(within(entity))))

    async def let_go(self, session: AsyncSession, entity: Entity) -> list[uuid.UUID]:
        """Have all documents in a place removed; return which."""
        going = within(entity)
        ids = await self.ids(session, entity)
        values = {"status": Status.DELETING, "attempts": 0, "not_before": None, "error": None}
        await session.execute(
            update(Document).where(going).values(**values).execution_options(synchronize_session=False)
        )
        column_name = _COLUMNS[entity.kind].key
        chunks = update(Chunk).where(getattr(Chunk, column_name) == entity.id, Chunk.is_live).values(is_live=False)
        await session.execute(chunks.execution_options(synchronize_session=False))
        return ids


def within(entity: Entity) -> ColumnElement[bool]:
    """Return the condition that a document is in a collection, of an agent or of a chat."""
    return _COLUMNS[entity.kind] == entity.id


def listed_collections(principal: Principal, *, own: bool) -> Select[Collection]:
    """Return the statement for the collections a caller may search, or only their own, by name."""
    who = readable_by(principal)
    who = and_(who, Collection.owner_id == principal.user_id) if own else who
    return select(Collection).where(who).order_by(Collection.name, Collection.id)


def listed_documents(entity: Entity | None, status: str | None = None) -> Select[Document]:
    """Return the statement for the documents in a place or in all, newest first."""
    conditions = [Document.status != Status.UPLOADING if status is None else Document.status == status]
    if entity is not None:
        conditions.append(within(entity))
    return select(Document).where(*conditions).order_by(Document.created_at.desc(), Document.id)


def readable_by(principal: Principal) -> ColumnElement[bool]:
    """Return the condition under which a caller may search a collection.

    Collections of suspended accounts are for those who manage knowledge.
    """
    if principal.may(Permission.MANAGE_KNOWLEDGE):
        return true()
    ways: list[ColumnElement[bool]] = [Collection.is_public.is_(True)]
    if principal.user_id is not None:
        ways.append(Collection.owner_id == principal.user_id)
    if principal.role_id is not None:
        share = (CollectionShare.collection_id == Collection.id) & (CollectionShare.role_id == principal.role_id)
        ways.append(exists().where(share))
    active = exists().where(_users.c.id == Collection.owner_id, _users.c.is_active)
    return and_(active, or_(*ways))
