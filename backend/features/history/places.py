"""Finds where a conversation was before: by fingerprint in memory, then in the store; and locks chats to go on with.

Only `HistoryWriter` uses this, one transaction at a time, so that memory and store tell the same.
"""

import uuid
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from backend.core.db.plain import Statements, Values
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

    def next_seq(self) -> int:
        """Take the number of the chat's next message."""
        self.last_seq += 1
        return self.last_seq


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


_ONE = "select prefix_hash, chat_id, id from messages where prefix_hash = ? order by number desc limit 1"
_ONE_IN_CHAT = _ONE.replace(" order", " and chat_id = ? order")
_SEVERAL, _SEVERAL_IN_CHAT = (
    " union all ".join(f"select * from ({one}) as at_{depth}" for depth in range(_DEPTHS))  # noqa: S608 (all of it ours)
    for one in (_ONE, _ONE_IN_CHAT)
)
_EXTERNAL = "select id from chats where user_id = ? and external_id = ?"
_STATES = (
    "select id, user_id, updated_at, model, last_seq, last_turn_id, last_answer_id from chats"
    " where id in (%s) order by id"
)
_CUT = (
    "select id, content from messages where chat_id = ? and parent_id = ? and role = 'assistant'"
    " and status not in ('complete', 'pending') order by number desc limit 5"
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

    def find(self, store: Statements, conversation: Conversation, chat_id: uuid.UUID | None) -> Found | None:
        """Return where the conversation was, as much of it as is found; in one chat, if that is said."""
        if (found := self.recall(conversation, chat_id)) is not None:
            return found
        turns = conversation.turns
        depths = {turn.digest: depth for depth, turn in enumerate(turns[-_DEPTHS:], max(len(turns) - _DEPTHS, 0) + 1)}
        if not depths:
            return None
        digests = list(depths) if len(depths) == 1 else [*depths, *[b""] * (_DEPTHS - len(depths))]
        if chat_id is None:
            rows = store.rows(_ONE if len(digests) == 1 else _SEVERAL, tuple(digests))
        else:
            chat = store.id(chat_id)
            values = tuple(value for digest in digests for value in (digest, chat))
            rows = store.rows(_ONE_IN_CHAT if len(digests) == 1 else _SEVERAL_IN_CHAT, values)
        found_at = [
            (depths[digest], Place(store.read_id(chat), store.read_id(message))) for digest, chat, message in rows
        ]
        return max(found_at, default=None)

    def find_external(self, store: Statements, user_id: uuid.UUID, external_id: str) -> uuid.UUID | None:
        """Return the chat that a client calls so."""
        if (known := self.recall_external(user_id, external_id)) is not None:
            return known
        rows = store.rows(_EXTERNAL, (store.id(user_id), external_id))
        if not rows:
            return None
        found = store.read_id(rows[0][0])
        self.put_external(user_id, external_id, found)
        return found

    def recall_external(self, user_id: uuid.UUID, external_id: str) -> uuid.UUID | None:
        """Return from memory the chat that a client calls so."""
        return self._external.get((user_id, external_id))

    def find_cut(self, store: Statements, asked: Place, turn: Turn) -> Place | None:
        """Return the answer to a message that was cut and of which a client saw about as much as `turn` says."""
        seen = spoken("assistant", turn.text)
        for message, content in store.rows(_CUT, (store.id(asked.chat_id), store.id(asked.message_id))):
            kept = spoken("assistant", content)
            if kept.startswith(seen) or seen.startswith(kept):
                return Place(asked.chat_id, store.read_id(message))
        return None

    def lock(self, store: Statements, chats: Collection[uuid.UUID]) -> dict[uuid.UUID, ChatState]:
        """Return those of the chats that are there; nobody else changes them before this transaction ends."""
        if not chats:
            return {}
        states = (_state(store, row) for row in store.locked(_STATES, (), [store.id(chat) for chat in sorted(chats)]))
        return {state.id: state for state in states}


def _state(store: Statements, row: Values) -> ChatState:
    chat, user, updated_at, model, last_seq, turn, answer = row
    return ChatState(
        *(store.read_id(chat), store.read_id(user), store.read_moment(updated_at), model, last_seq),
        None if turn is None else store.read_id(turn),
        None if answer is None else store.read_id(answer),
    )
