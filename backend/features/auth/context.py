"""What is known about one request before its body is read, beyond its wire format."""

import uuid
from dataclasses import dataclass

from backend.features.auth.principal import Principal


@dataclass(frozen=True, slots=True)
class KnowledgeWish:
    """What a caller says about the use of documents, in the header `X-RAG`."""

    is_off: bool = False
    collections: tuple[str, ...] = ()
    """Ids or names of collections to search besides; their right to them is checked where they are searched."""


NO_WISH = KnowledgeWish()


@dataclass(frozen=True, slots=True)
class CallContext:
    """Who asks, and in which conversation; goes with a request through the pipeline."""

    principal: Principal
    conversation: str = ""
    """The client's own id of the conversation, a word of printable ASCII; "" when it names none. Proves nothing: it is
    only ever looked up among the caller's own."""
    chat_id: uuid.UUID | None = None
    """The chat of ours that this continues, once the caller's right to it was checked."""
    request_id: str = "-"
    knowledge: KnowledgeWish = NO_WISH
