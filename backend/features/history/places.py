"""Finds where a conversation was before: by fingerprint in memory, then in the store; and locks chats to go on with.

Only `HistoryWriter` uses this, one transaction at a time, so that memory and store tell the same.
"""

import uuid
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Select, bindparam, select, union_all
from sqlalchemy.engine import Connection

from backend.features.history.models import COMPLETE, PENDING, Chat, StoredMessage
from backend.features.history.turns import Conversation, Turn, spoken

Kept = TypeVar("Kept")

_DEPTHS = 8
"""Turns from the end of a conversation that are looked up in the store."""


class Place(NamedTuple):
    """A message of a chat."""

    chat_id: uuid.UUID
    message_id: uuid.UUID


Found = tuple[int, Place]
"""How many turns of a conversation are there already, and the last of them."""


@dataclass(slots=True)
class ChatState:
    """What going on with a chat needs to know, and changes."""

    id: uuid.UUID
    user_id: uuid.UUID
    updated_at: datetime
    model: str
    last_seq: int = 0
    last_turn_id: uuid.UUID | None = None
    last_answer_id: uuid.UUID | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns that change."""
        return {
            "last_seq": self.last_seq,
            "last_turn_id": self.last_turn_id,
            "last_answer_id": self.last_answer_id,
            "updated_at": self.updated_at,
            "model": self.model,
        }


class Recent(Generic[Kept]):
    """A bounded memory; what was not used for longest is forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: dict[Hashable, Kept] = {}

    def get(self, key: Hashable) -> Kept | None:
        """Return what is remembered, and keep it longer."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._kept[key] = found
        return found

    def put(self, key: Hashable, value: Kept) -> None:
        """Remember one more."""
        self._kept.pop(key, None)
        self._kept[key] = value
        if len(self._kept) > self._capacity:
            del self._kept[next(iter(self._kept))]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def _newest(depth: int, *, in_chat: bool) -> Select[Any]:
    kept = StoredMessage
    statement = select(kept.prefix_hash, kept.chat_id, kept.id).where(kept.prefix_hash == bindparam(f"digest_{depth}"))
    if in_chat:
        statement = statement.where(kept.chat_id == bindparam("chat"))
    return select(statement.order_by(kept.number.desc()).limit(1).subquery(f"at_{depth}"))


_ONE = {in_chat: _newest(0, in_chat=in_chat) for in_chat in (False, True)}
_SEVERAL = {
    in_chat: union_all(*(_newest(depth, in_chat=in_chat) for depth in range(_DEPTHS))) for in_chat in (False, True)
}
_EXTERNAL = select(Chat.id).where(Chat.user_id == bindparam("user"), Chat.external_id == bindparam("external"))
_STATES = (
    select(Chat.id, Chat.user_id, Chat.updated_at, Chat.model, Chat.last_seq, Chat.last_turn_id, Chat.last_answer_id)
    .where(Chat.id.in_(bindparam("chats", expanding=True)))
    .order_by(Chat.id)
    .with_for_update()
)
_CUT = (
    select(StoredMessage.id, StoredMessage.content)
    .where(
        StoredMessage.chat_id == bindparam("chat"),
        StoredMessage.parent_id == bindparam("parent"),
        StoredMessage.role == "assistant",
        StoredMessage.status.not_in((COMPLETE, PENDING)),
    )
    .order_by(StoredMessage.number.desc())
    .limit(5)
)


class Places:
    """Where conversations were, most recent first."""

    def __init__(self, capacity: int) -> None:
        self._places = Recent[Place](capacity)
        self._external = Recent[uuid.UUID](capacity)

    def put(self, digest: bytes, place: Place) -> None:
        """Remember the last message of a conversation."""
        self._places.put(digest, place)

    def put_external(self, user_id: uuid.UUID, external_id: str, chat_id: uuid.UUID) -> None:
        """Remember what a client calls a chat."""
        self._external.put((user_id, external_id), chat_id)

    def forget(self) -> None:
        """Forget everything: what was remembered may not have been kept."""
        self._places.clear()
        self._external.clear()

    def recall(self, conversation: Conversation, chat_id: uuid.UUID | None) -> Found | None:
        """Return from memory where the conversation was, with its last turns or up to its last answer."""
        turns = conversation.turns
        for known in (len(turns), conversation.known):
            if known and (place := self._places.get(turns[known - 1].digest)) and chat_id in (None, place.chat_id):
                return known, place
        return None

    def find(self, connection: Connection, conversation: Conversation, chat_id: uuid.UUID | None) -> Found | None:
        """Return where the conversation was, as much of it as is found; in one chat, if that is said."""
        if (found := self.recall(conversation, chat_id)) is not None:
            return found
        turns = conversation.turns
        depths = {turn.digest: depth for depth, turn in enumerate(turns[-_DEPTHS:], max(len(turns) - _DEPTHS, 0) + 1)}
        if not depths:
            return None
        digests = list(depths) if len(depths) == 1 else [*depths, *[b""] * (_DEPTHS - len(depths))]
        statement = (_ONE if len(digests) == 1 else _SEVERAL)[chat_id is not None]
        values: dict[str, Any] = {f"digest_{depth}": digest for depth, digest in enumerate(digests)}
        rows = connection.execute(statement, values if chat_id is None else {**values, "chat": chat_id}).all()
        return max(((depths[digest], Place(chat, message)) for digest, chat, message in rows), default=None)

    def find_external(self, connection: Connection, user_id: uuid.UUID, external_id: str) -> uuid.UUID | None:
        """Return the chat that a client calls so."""
        if (known := self.recall_external(user_id, external_id)) is not None:
            return known
        found: uuid.UUID | None = connection.execute(_EXTERNAL, {"user": user_id, "external": external_id}).scalar()
        if found is not None:
            self.put_external(user_id, external_id, found)
        return found

    def recall_external(self, user_id: uuid.UUID, external_id: str) -> uuid.UUID | None:
        """Return from memory the chat that a client calls so."""
        return self._external.get((user_id, external_id))

    def find_cut(self, connection: Connection, asked: Place, turn: Turn) -> Place | None:
        """Return the answer to a message that was cut and of which a client saw about as much as `turn` says."""
        seen = spoken("assistant", turn.text)
        for message, content in connection.execute(_CUT, {"chat": asked.chat_id, "parent": asked.message_id}):
            kept = spoken("assistant", content)
            if kept.startswith(seen) or seen.startswith(kept):
                return Place(asked.chat_id, message)
        return None

    def lock(self, connection: Connection, chats: Collection[uuid.UUID]) -> dict[uuid.UUID, ChatState]:
        """Return those of the chats that are there; nobody else changes them before this transaction ends."""
        if not chats:
            return {}
        rows = connection.execute(_STATES, {"chats": sorted(chats)})
        return {row.id: ChatState(*row) for row in rows}
