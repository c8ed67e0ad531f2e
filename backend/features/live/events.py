"""What is told of a chat, and who may be told."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from backend.features.auth.principal import Principal

DELTA = "message_delta"
NAMES = frozenset({"message_created", DELTA, "message_completed", "chat_updated", "chat_deleted", "typing"})


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


class ChatReader(Protocol):
    """Knows who may read which chat."""

    async def may_read(self, principal: Principal, chat_id: uuid.UUID) -> bool:
        """Whether somebody may read a chat now; False for one that is not there."""
        ...
