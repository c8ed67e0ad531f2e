"""What can be listened to, what is told of it, and who may be told."""

import contextlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, Self, get_args

from backend.features.auth.principal import Principal

DELTA = "message_delta"
NAMES = frozenset(
    {"message_created", DELTA, "message_completed", "chat_updated", "chat_deleted", "typing", "document_progress"}
)

MOST_CHARACTERS = 2**16
"""Of one text in an event: a thousand may wait for each of those who listen."""
_TEXTS = ("content", "thinking")


Kind = Literal["chat", "document", "collection"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Topic(NamedTuple):
    """One thing that can be listened to; as text it is the name of its room."""

    kind: Kind
    id: uuid.UUID

    @classmethod
    def chat(cls, chat_id: uuid.UUID) -> Self:
        """Return what happens in a chat."""
        return cls("chat", chat_id)

    @classmethod
    def document(cls, document_id: uuid.UUID) -> Self:
        """Return what becomes of a document."""
        return cls("document", document_id)

    @classmethod
    def collection(cls, collection_id: uuid.UUID) -> Self:
        """Return what becomes of the documents of a collection."""
        return cls("collection", collection_id)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the topic of a name; None for what is the name of none."""
        name, _, topic_id = text.partition(":")
        for kind in KINDS:
            if kind == name:
                with contextlib.suppress(ValueError):
                    return cls(kind, uuid.UUID(topic_id))
        return None

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @property
    def field(self) -> str:
        """The name of its id in what sockets send and hear."""
        return f"{self.kind}_id"


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that happened to a topic.

    `data` holds what JSON can say and nothing else. Deltas may get lost: whatever must arrive is in another event, too.
    """

    topic: Topic
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


class TopicReader(Protocol):
    """Knows who may read which topic of one kind."""

    async def may_read(self, principal: Principal, topic_id: uuid.UUID, /) -> bool:
        """Whether somebody may read what has this id now; False for one that is not there."""
        ...


Readers = Mapping[Kind, TopicReader]
"""Who knows it, for every kind."""
