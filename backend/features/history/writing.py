"""What requests write: their beginning in one transaction before a backend is asked, their end in another.

Plain functions over a connection, called by `GroupCommit` with all that came together; in one process they never run
twice at a time. A chat is locked before it is written to, so that processes which share a database take turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, update
from sqlalchemy.engine import Connection

from backend.features.history.models import PENDING, Chat, StoredMessage
from backend.features.history.places import Places
from backend.features.history.placing import Opened, Opening, Placing

_CHANGES = ("last_seq", "last_turn_id", "last_answer_id", "updated_at", "model")
_ENDS = (
    *("content", "thinking", "tool_calls", "sources", "llm_model", "llm_provider", "status", "error"),
    *("prompt_tokens", "completion_tokens", "ms", "prefix_hash", "finished_at"),
)
_chats: Any = Chat.__table__
_messages: Any = StoredMessage.__table__
_new_chats = insert(_chats)
_new_messages = insert(_messages)
_changed_chat = update(_chats).where(_chats.c.id == bindparam("chat")).values({c: bindparam(c) for c in _CHANGES})
_ended_chat = update(_chats).where(_chats.c.id == bindparam("chat")).values(updated_at=bindparam("at"))
_ended = (
    update(_messages)
    .where(
        _messages.c.chat_id == bindparam("chat"),
        _messages.c.seq == bindparam("place"),
        _messages.c.status == PENDING,
    )
    .values({column: bindparam(column) for column in _ENDS})
)


@dataclass(frozen=True, slots=True)
class Closing:
    """How an answer ended."""

    opened: Opened
    at: datetime
    digest: bytes
    values: Mapping[str, Any]
    """The message's other columns."""


class HistoryWriter:
    """Writes beginnings and ends.

    What it remembers of them is there when their transaction comes to nothing: then `places.forget` must be called.

    Args:
        capacity: fingerprints that are remembered, so that a conversation is usually found without a query.
    """

    def __init__(self, capacity: int = 20_000) -> None:
        self.places = Places(capacity)

    def open(self, connection: Connection, openings: Sequence[Opening]) -> Sequence[Opened | None]:
        """Give each request its place in a chat; its new turns and a pending answer are there afterwards.

        None is for a request that names a chat which is not there for its account.
        """
        placing = Placing(connection, self.places, openings)
        opened = [placing.place(opening) for opening in openings]
        states = placing.states
        if placing.new_chats:
            rows = [{**row, **states[chat].columns()} for chat, row in placing.new_chats.items()]
            connection.execute(_new_chats, rows)
        if placing.changed_chats:
            changes = [{"chat": chat, **states[chat].columns()} for chat in sorted(placing.changed_chats)]
            connection.execute(_changed_chat, changes)
        if placing.messages:
            connection.execute(_new_messages, placing.messages)
        return opened

    def close(self, connection: Connection, closings: Sequence[Closing]) -> Sequence[None]:
        """Write ends, each once: an answer that is no longer pending stays as it is.

        A chat is locked before its messages, as whoever removes it does.
        """
        ends = [
            {
                "chat": c.opened.chat_id,
                "place": c.opened.seq,
                "prefix_hash": c.digest,
                "finished_at": c.at,
                **c.values,
            }
            for c in closings
        ]
        touched = {closing.opened.chat_id: closing.at for closing in closings}
        connection.execute(_ended_chat, [{"chat": chat, "at": at} for chat, at in sorted(touched.items())])
        connection.execute(_ended, ends)
        for closing in closings:
            self.places.put(closing.digest, closing.opened.place)
        return [None] * len(closings)
