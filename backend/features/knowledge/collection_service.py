"""Making, changing, sharing and removing collections."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, NotFound, NotPermitted, Unprocessable
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Permission, Principal
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.models import Collection, CollectionShare
from backend.features.knowledge.repository import Collections, Documents, listed_collections
from backend.features.live.bus import LiveBus
from backend.features.live.events import Topic

MAX_COLLECTIONS = 200
"""One account may have."""


@dataclass(frozen=True, slots=True)
class CollectionDraft:
    """A collection as its owner wants it."""

    name: str
    description: str = ""
    is_public: bool = False
    role_ids: frozenset[uuid.UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection as one caller may see it."""

    collection: Collection
    is_writable: bool


class CollectionService:
    """Everything about collections but their documents.

    Args:
        database: the store.
        audit: who did what.
        interrupt: told of every document that is to be removed.
        bus: those who listen to a collection, or to its documents, are looked at again when its readers change.
    """

    def __init__(
        self, database: Database, audit: AuditLog, interrupt: Callable[[uuid.UUID], None], bus: LiveBus
    ) -> None:
        self._database = database
        self._audit = audit
        self._interrupt = interrupt
        self._bus = bus
        self._collections = Collections()
        self._documents = Documents()

    async def page(self, principal: Principal, query: PageQuery, *, own: bool = False) -> Page[CollectionView]:
        """Return a piece of the list of collections the caller may search, or of their own."""
        async with self._database.reading() as session:
            found = await self._collections.page(session, listed_collections(principal, own=own), query)
        return found.of(lambda collection: _view(collection, principal))

    async def get(self, principal: Principal, collection_id: uuid.UUID) -> CollectionView:
        """Return a collection the caller may search; raise `NotFound` for any other."""
        async with self._database.reading() as session:
            return _view(await self._readable(session, principal, collection_id), principal)

    async def may_read(self, principal: Principal, collection_id: uuid.UUID) -> bool:
        """Whether a caller may search a collection now."""
        async with self._database.reading() as session:
            return await self._collections.readable(session, principal, collection_id) is not None

    async def find_own(self, owner_id: uuid.UUID, name: str) -> Collection | None:
        """Return somebody's collection by its name, or None."""
        async with self._database.reading() as session:
            return await self._collections.named(session, name, owner_id)

    async def named(self, name: str) -> Sequence[Collection]:
        """Return everybody's collections of a name, for whoever runs the command line."""
        async with self._database.reading() as session:
            return await self._collections.all_named(session, name)

    async def create(self, caller: Caller, draft: CollectionDraft, owner_id: uuid.UUID | None = None) -> CollectionView:
        """Make a collection of the caller's, or of another owner's in a manager's hands."""
        principal = caller.principal
        principal.require(Permission.KNOWLEDGE)
        owner_id = owner_id or principal.user_id
        if owner_id is None:
            raise NotPermitted("collections belong to accounts: log in, or send a key of your account")
        async with self._database.transaction() as session:
            if await self._collections.named(session, draft.name, owner_id) is not None:
                raise Conflict("you have a collection of this name already; choose another name or fill that one")
            if await self._collections.count_of(session, owner_id) >= MAX_COLLECTIONS:
                raise Conflict(f"you have {MAX_COLLECTIONS} collections, the most there may be; delete one first")
            collection = Collection(owner_id=owner_id, name=draft.name, shares=[])
            await self._fill(session, principal, collection, draft)
            await self._collections.add(session, collection)
            await self._note(session, caller, "collection.create", collection)
        return _view(collection, principal)

    async def replace(self, caller: Caller, collection_id: uuid.UUID, draft: CollectionDraft) -> CollectionView:
        """Make a collection what the draft says; only its owner may, and whoever manages knowledge."""
        principal = caller.principal
        principal.require(Permission.KNOWLEDGE)
        async with self._database.transaction() as session:
            collection = await self._writable(session, principal, collection_id)
            other = await self._collections.named(session, draft.name, collection.owner_id)
            if other is not None and other.id != collection.id:
                raise Conflict("there is a collection of this name already; choose another name")
            is_narrowed = _is_narrowed(collection, draft)
            await self._fill(session, principal, collection, draft)
            await self._note(session, caller, "collection.update", collection)
        if is_narrowed:
            self._bus.evict(Topic.collection(collection_id))
        return _view(collection, principal)

    async def delete(self, caller: Caller, collection_id: uuid.UUID) -> None:
        """Remove a collection; its documents are found no more at once, and removed after that."""
        caller.principal.require(Permission.KNOWLEDGE)
        async with self._database.transaction() as session:
            collection = await self._writable(session, caller.principal, collection_id)
            documents = await self._documents.let_go(session, Entity(EntityKind.COLLECTION, collection_id))
            await self._note(session, caller, "collection.delete", collection)
            await self._collections.remove(session, collection)
        for document_id in documents:
            self._interrupt(document_id)
        self._bus.evict(Topic.collection(collection_id))

    async def _fill(
        self, session: Transaction, principal: Principal, collection: Collection, draft: CollectionDraft
    ) -> None:
        kept = {share.role_id: share for share in collection.shares}
        added = draft.role_ids - kept.keys()
        if added:
            await self._check_roles(session, principal, added)
        collection.name, collection.description, collection.is_public = draft.name, draft.description, draft.is_public
        collection.shares = [
            kept.get(role_id) or CollectionShare(role_id=role_id) for role_id in sorted(draft.role_ids)
        ]
        collection.updated_at = utc_now()  # even when only the shares changed

    async def _check_roles(self, session: Transaction, principal: Principal, wanted: frozenset[uuid.UUID]) -> None:
        """Refuse roles that are not there for the caller: their own, or any for those who see all."""
        sees_all = principal.may(Permission.MANAGE_ROLES) or principal.may(Permission.MANAGE_KNOWLEDGE)
        there = await self._collections.roles(session, wanted)
        if not wanted <= (there if sees_all else there & {principal.role_id}):
            raise Unprocessable("one of these roles is not there, or not yours to share with")

    async def _readable(self, session: Transaction, principal: Principal, collection_id: uuid.UUID) -> Collection:
        collection = await self._collections.readable(session, principal, collection_id)
        if collection is None:
            raise NotFound("there is no such collection")
        return collection

    async def _writable(self, session: Transaction, principal: Principal, collection_id: uuid.UUID) -> Collection:
        collection = await self._readable(session, principal, collection_id)
        if not _view(collection, principal).is_writable:
            raise NotPermitted("this collection is shared with you; only its owner may change it")
        return collection

    async def _note(self, session: Transaction, caller: Caller, action: str, collection: Collection) -> None:
        roles = sorted(str(share.role_id) for share in collection.shares)
        told = {"name": collection.name, "is_public": collection.is_public, "role_ids": roles}
        subject = Subject("collection", collection.id, collection.owner_id)
        await self._audit.record(session, caller, action, subject, told)


def _is_narrowed(collection: Collection, draft: CollectionDraft) -> bool:
    """Whether some who may read a collection may not once it is what the draft says."""
    lost = {share.role_id for share in collection.shares} - draft.role_ids
    return bool(lost) or (collection.is_public and not draft.is_public)


def _view(collection: Collection, principal: Principal) -> CollectionView:
    is_own = collection.owner_id == principal.user_id
    return CollectionView(collection, is_own or principal.may(Permission.MANAGE_KNOWLEDGE))
