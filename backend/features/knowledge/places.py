"""Who may read and who may change the documents of a collection, an agent, a chat."""

import uuid
from dataclasses import dataclass

from backend.core.db.database import Transaction
from backend.core.errors import NotFound, NotPermitted
from backend.features.agents.repository import AgentRepository
from backend.features.auth.principal import Permission, Principal
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.ports import ChatReader
from backend.features.knowledge.repository import Collections


@dataclass(frozen=True, slots=True)
class Place:
    """An entity that a caller may read the documents of."""

    entity: Entity
    owner_id: uuid.UUID
    is_writable: bool

    def require_writable(self) -> None:
        """Raise `NotPermitted` for somebody with whom it is only shared."""
        if not self.is_writable:
            raise NotPermitted(f"this {self.entity.kind} is shared with you; only its owner may change its documents")


class Places:
    """Finds them for a caller; whoever may ask an agent may read its documents, for it answers with them."""

    def __init__(self, chats: ChatReader) -> None:
        self._chats = chats
        self._collections = Collections()
        self._agents = AgentRepository()

    async def find(self, session: Transaction, principal: Principal, entity: Entity) -> Place:
        """Return a place; raise `NotFound` for what is not there for the caller."""
        owner_id, manages = await self._owner(session, principal, entity), principal.may(Permission.MANAGE_KNOWLEDGE)
        if owner_id is None:
            raise NotFound(f"there is no such {entity.kind}")
        if entity.kind == EntityKind.AGENT:
            manages = principal.may(Permission.MANAGE_AGENTS)
        return Place(entity, owner_id, manages or owner_id == principal.user_id)

    async def _owner(self, session: Transaction, principal: Principal, entity: Entity) -> uuid.UUID | None:
        match entity.kind:
            case EntityKind.COLLECTION:
                collection = await self._collections.readable(session, principal, entity.id)
                return None if collection is None else collection.owner_id
            case EntityKind.AGENT:
                owned = await self._agents.usable(session, principal, entity.id)
                return None if owned is None else owned.agent.owner_id
            case EntityKind.CHAT:
                return principal.user_id if await self._chats.may_read(principal, entity.id) else None
