"""What documents are in: a collection, an agent, a chat."""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from backend.features.knowledge.models import Document


class EntityKind(StrEnum):
    """What has documents."""

    COLLECTION = "collection"
    AGENT = "agent"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Entity:
    """One thing that has documents."""

    kind: EntityKind
    id: uuid.UUID


def entity_of(document: Document) -> Entity | None:
    """Return what a document is in; None when that is gone."""
    kinds = (
        (EntityKind.COLLECTION, document.collection_id),
        (EntityKind.AGENT, document.agent_id),
        (EntityKind.CHAT, document.chat_id),
    )
    return next((Entity(kind, entity_id) for kind, entity_id in kinds if entity_id is not None), None)
