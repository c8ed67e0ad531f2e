"""What requests write: their beginning in one transaction before a backend is asked, their end in another.

Plain functions over a connection, called by `GroupCommit` with all that came together; in one process they never run
twice at a time. A chat is locked before it is written to, so that processes which share a database take turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from backend.core.db.plain import Statements, Values, statements
from backend.features.history.places import ChatState, Places
from backend.features.history.placing import NewChat, NewMessage, Opened, Opening, Placing

_CHAT = ("id", "user_id", "title", "agent_id", "external_id", "created_at")
_CHANGES = ("last_seq", "last_turn_id", "last_answer_id", "updated_at", "model")
_MESSAGE = (
    *("id", "chat_id", "user_id", "seq", "parent_id", "role", "content", "thinking", "tool_calls", "status"),
    *("sources", "prefix_hash", "created_at"),
)
_ENDS = (
    *("content", "thinking", "tool_calls", "sources", "llm_model", "llm_provider", "status", "error"),
    *("prompt_tokens", "completion_tokens", "ms", "prefix_hash", "finished_at"),
)
_LISTS = ("tool_calls", "sources")
_NEW_CHATS = f"insert into chats ({', '.join(_CHAT + _CHANGES)}) values ({', '.join('?' * len(_CHAT + _CHANGES))})"  # noqa: S608 (names of ours)
_CHANGED_CHAT = f"update chats set {' = ?, '.join(_CHANGES)} = ? where id = ?"  # noqa: S608
_NEW_MESSAGES = f"insert into messages ({', '.join(_MESSAGE)}) values ({', '.join('?' * len(_MESSAGE))})"  # noqa: S608
_ENDED_CHAT = "update chats set updated_at = ? where id = ?"
_ENDED = f"update messages set {' = ?, '.join(_ENDS)} = ? where chat_id = ? and seq = ? and status = 'pending'"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Closing:
    """How an answer ended."""

    opened: Opened
    at: datetime
    digest: bytes
    values: Mapping[str, Any]
    """The message's other columns."""
    is_streamed: bool = False
    """Whether its client had it before it ended."""


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
        store = statements(connection)
        placing = Placing(store, self.places, openings)
        opened = [placing.place(opening) for opening in openings]
        states = placing.states
        if placing.new_chats:
            new = [(states[chat], row) for chat, row in placing.new_chats.items()]
            store.run(_NEW_CHATS, [(*_chat(store, state, row), *_changes(store, state)) for state, row in new])
        if placing.changed_chats:
            changed = sorted(placing.changed_chats)
            store.run(_CHANGED_CHAT, [(*_changes(store, states[chat]), store.id(chat)) for chat in changed])
        if placing.messages:
            store.run(_NEW_MESSAGES, [_message(store, message) for message in placing.messages])
        return opened

    def close(self, connection: Connection, closings: Sequence[Closing]) -> Sequence[None]:
        """Write ends, each once: an answer that is no longer pending stays as it is.

        A chat is locked before its messages, as whoever removes it does.
        """
        store = statements(connection)
        touched = {closing.opened.chat_id: closing.at for closing in closings}
        store.run(_ENDED_CHAT, [(store.moment(at), store.id(chat)) for chat, at in sorted(touched.items())])
        store.run(_ENDED, [_end(store, closing) for closing in closings])
        for closing in closings:
            self.places.put(closing.digest, closing.opened.place)
        return [None] * len(closings)


def _chat(store: Statements, state: ChatState, new: NewChat) -> Values:
    agent = None if new.agent_id is None else store.id(new.agent_id)
    created_at = store.moment(new.created_at)
    return (store.id(state.id), store.id(state.user_id), new.title, agent, new.external_id, created_at)


def _changes(store: Statements, state: ChatState) -> Values:
    turn = None if state.last_turn_id is None else store.id(state.last_turn_id)
    answer = None if state.last_answer_id is None else store.id(state.last_answer_id)
    return (state.last_seq, turn, answer, store.moment(state.updated_at), state.model)


def _message(store: Statements, message: NewMessage) -> Values:
    parent = None if message.parent_id is None else store.id(message.parent_id)
    chat = message.chat
    return (
        *(store.id(message.id), store.id(chat.id), store.id(chat.user_id), message.seq, parent, message.role),
        *(message.content, "", store.json(message.calls), message.status, store.json(()), message.digest),
        store.moment(message.created_at),
    )


def _end(store: Statements, closing: Closing) -> Values:
    opened, own = closing.opened, {"prefix_hash": closing.digest, "finished_at": store.moment(closing.at)}
    values = {**closing.values, **own, **{name: store.json(closing.values[name]) for name in _LISTS}}
    return (*[values[column] for column in _ENDS], store.id(opened.chat_id), opened.seq)
