"""What is told of a chat, and who may be told."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from backend.features.auth.principal import Principal

DELTA = "message_delta"
NAMES = frozenset(
    {"message_created", DELTA, "message_completed", "chat_updated", "chat_deleted", "typing", "document_progress"}
)

MOST_CHARACTERS = 2**16
"""Of one text in an event: a thousand may wait for each of those who listen."""
_TEXTS = ("content", "thinking")


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that happened in a chat.

    `data` holds what JSON can say and nothing else. Deltas may get lost: whatever must arrive is in another event, too.
    """

    chat_id: uuid.UUID
    name: str
    data: Mapping[str, Any]
    origin: str = ""
    """The socket that caused it and is not told of it; its id, which nobody else knows."""


def bounded(event: LiveEvent) -> LiveEvent:
    """Return an event without the rest of a text that is too long; `truncated` says that the chat itself has it all."""
    long = {
        name: text[:MOST_CHARACTERS]
        for name in _TEXTS
        if isinstance(text := event.data.get(name), str) and len(text) > MOST_CHARACTERS
    }
    return replace(event, data={**event.data, **long, "truncated": True}) if long else event


class ChatReader(Protocol):
    """Knows who may read which chat."""

    async def may_read(self, principal: Principal, chat_id: uuid.UUID) -> bool:
        """Whether somebody may read a chat now; False for one that is not there."""
        ...
