"""Decides where requests belong, and what is to be written for them: a chat, their new turns, a pending answer."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backend.core.db.plain import Statements
from backend.core.ids import new_id
from backend.features.history.models import COMPLETE, PENDING
from backend.features.history.places import ChatState, Found, Place, Places
from backend.features.history.turns import Conversation, Turn

_TITLE_CHARACTERS = 80
_MOST_TURNS = 500
"""New turns of one request that are kept, the last ones."""
_SAME_AGAIN = timedelta(minutes=10)
"""How long the first turn of a chat, sent once more, is taken for the same one and not for a new chat."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A request that is about to be answered."""

    user_id: uuid.UUID
    conversation: Conversation
    model: str
    at: datetime
    answer_id: uuid.UUID
    agent_id: uuid.UUID | None = None
    chat_id: uuid.UUID | None = None
    """The chat it continues, when that was said."""
    external_id: str | None = None
    """The client's own id of the chat, when it has one."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a request has its place."""

    chat_id: uuid.UUID
    answer_id: uuid.UUID
    seq: int
    """Of the answer."""
    turn_id: uuid.UUID | None
    """The message that is answered."""
    new_turns: int
    """How many messages were not there before."""

    @property
    def place(self) -> Place:
        """Where the answer is."""
        return Place(self.chat_id, self.answer_id)


@dataclass(frozen=True, slots=True)
class NewChat:
    """What a chat begins with besides its state."""

    title: str
    agent_id: uuid.UUID | None
    external_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is to be written."""

    id: uuid.UUID
    chat: ChatState
    seq: int
    parent_id: uuid.UUID | None
    created_at: datetime
    role: str
    status: str
    content: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    digest: bytes | None = None


class Placing:
    """The beginnings of one transaction; what one of them adds, the next one finds."""

    def __init__(self, store: Statements, places: Places, openings: Sequence[Opening]) -> None:
        self.new_chats: dict[uuid.UUID, NewChat] = {}
        self.changed_chats: set[uuid.UUID] = set()
        self.messages: list[NewMessage] = []
        self._store = store
        self._places = places
        self._found = {opening.answer_id: self._look(opening) for opening in openings}
        chats = {chat for chat, _ in self._found.values() if chat is not None}
        self.states = places.lock(store, chats)

    def place(self, opening: Opening) -> Opened | None:
        """Decide where a request belongs, and note what is to be written; None when the chat it names is not there."""
        turns = opening.conversation.turns
        state, found = self._decide(opening)
        known, parent = opening.conversation.known, None
        if found is not None:
            known, parent = found[0], found[1].message_id
        elif state is not None:
            parent = state.last_answer_id or state.last_turn_id
        if state is None and opening.chat_id is not None:
            return None
        if state is None:
            state = self._add_chat(opening)
        elif state.id not in self.new_chats:
            self.changed_chats.add(state.id)
        state.updated_at, state.model = opening.at, opening.model
        known = max(known, len(turns) - _MOST_TURNS)
        for turn in turns[known:]:
            parent = self._add_turn(opening, state, parent, turn)
        self.messages.append(
            NewMessage(opening.answer_id, state, state.next_seq(), parent, opening.at, "assistant", PENDING)
        )
        state.last_answer_id = opening.answer_id
        return Opened(state.id, opening.answer_id, state.last_seq, parent, len(turns) - known)

    def _look(self, opening: Opening) -> tuple[uuid.UUID | None, Found | None]:
        """Return the chat that a request names or was found in, and how much of it is there."""
        chat = opening.chat_id
        if chat is None and opening.external_id is not None:
            chat = self._places.find_external(self._store, opening.user_id, opening.external_id)
            if chat is None:
                return None, None
        found = self._places.find(self._store, opening.conversation, chat)
        return chat or (None if found is None else found[1].chat_id), found

    def _decide(self, opening: Opening) -> tuple[ChatState | None, Found | None]:
        """Return the chat that a request goes on with, and how much of it is there."""
        chat, found = self._found[opening.answer_id]
        is_named = opening.chat_id is not None or opening.external_id is not None
        if chat is None and opening.external_id is not None:
            chat = self._places.recall_external(opening.user_id, opening.external_id)  # an earlier one made it
            if chat is None:
                return None, None
        recalled = self._places.recall(opening.conversation, chat if is_named else None)
        if recalled is not None:
            found, chat = recalled, recalled[1].chat_id
        state = None if chat is None else self.states.get(chat)  # all are locked by now: one by one is no order
        if state is None or state.user_id != opening.user_id:
            return None, None
        if found is None:
            return state, None
        if not is_named and found[0] == 1 and not _is_same_again(state, found[1], opening.at):
            return None, None
        return state, self._past_cut_answer(opening, found)

    def _past_cut_answer(self, opening: Opening, found: Found) -> Found:
        """Go on after an answer that was cut: its client may have seen less of it than was kept."""
        known, place = found
        turns = opening.conversation.turns
        if known == len(turns) or turns[known].role != "assistant":
            return found
        cut = self._places.find_cut(self._store, place, turns[known])
        return found if cut is None else (known + 1, cut)

    def _add_chat(self, opening: Opening) -> ChatState:
        state = ChatState(new_id(), opening.user_id, opening.at, opening.model)
        self.states[state.id] = state
        if opening.external_id is not None:
            self._places.put_external(opening.user_id, opening.external_id, state.id)
        title = title_of(opening.conversation.turns)
        self.new_chats[state.id] = NewChat(title, opening.agent_id, opening.external_id, opening.at)
        return state

    def _add_turn(self, opening: Opening, state: ChatState, parent: uuid.UUID | None, turn: Turn) -> uuid.UUID:
        message_id = new_id()
        self.messages.append(
            NewMessage(
                *(message_id, state, state.next_seq(), parent, opening.at),
                *(turn.role, COMPLETE, turn.text, turn.calls, turn.digest),
            )
        )
        self._places.put(turn.digest, Place(state.id, message_id))
        state.last_turn_id = message_id
        return message_id


def title_of(turns: Sequence[Turn]) -> str:
    """Return what a chat is called until its owner says otherwise: the beginning of the first question."""
    text = next((turn.text for turn in turns if turn.role == "user" and turn.text.strip()), "")
    words = " ".join(text[: _TITLE_CHARACTERS * 4].split())
    return words if len(words) <= _TITLE_CHARACTERS else words[: _TITLE_CHARACTERS - 1].rstrip() + "…"


def _is_same_again(state: ChatState, place: Place, at: datetime) -> bool:
    """Whether a first turn that is sent once more is the same one: nothing but answers came after it, just now."""
    return state.last_turn_id == place.message_id and at - state.updated_at < _SAME_AGAIN
