"""Tells those who watch a document, or listen to it or to what it is in, what happens to it, as it happens."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from backend.core.errors import Overloaded
from backend.features.knowledge.models import Document
from backend.features.knowledge.states import State, state_of
from backend.features.live.bus import LiveBus, MemoryBus
from backend.features.live.events import LiveEvent, Topic

_MAX_BEHIND = 100
_MOST_WATCHERS, _MOST_OF_ONE = 1_000, 20
"""In this process, and of one document: each of them has the store asked once a second."""
_RETRY_AFTER = 5.0


class Progress:
    """Hands states on; nobody keeps them here, the store does.

    Args:
        bus: whoever listens to a document, or to the collection or chat that it is in, hears of it there.
    """

    def __init__(self, bus: LiveBus | None = None) -> None:
        self._bus: LiveBus = bus or MemoryBus()
        self._watchers: dict[uuid.UUID, set[asyncio.Queue[State]]] = {}

    def tell(
        self,
        document_id: uuid.UUID,
        state: State,
        *,
        collection_id: uuid.UUID | None = None,
        chat_id: uuid.UUID | None = None,
    ) -> None:
        """Tell all who watch a document, and those who listen to it or to what it is in; who does not misses some."""
        topics = [Topic.document(document_id)]
        topics += [] if collection_id is None else [Topic.collection(collection_id)]
        topics += [] if chat_id is None else [Topic.chat(chat_id)]
        for topic in filter(self._bus.is_watched, topics):
            self._bus.publish(LiveEvent(topic, "document_progress", _told(document_id, state)))
        for queue in self._watchers.get(document_id, ()):
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(state)

    def tell_of(self, document: Document) -> None:
        """Tell the state that somebody's decision brought a document to."""
        self.tell(document.id, state_of(document), collection_id=document.collection_id, chat_id=document.chat_id)

    def end(self, document_id: uuid.UUID) -> None:
        """Let nobody listen any longer to a document that is not there any more."""
        self._bus.evict(Topic.document(document_id))

    def require_room(self, document_id: uuid.UUID) -> None:
        """Raise `Overloaded` where so many watch already that another one must not."""
        watchers = sum(map(len, self._watchers.values()))
        if watchers >= _MOST_WATCHERS or len(self._watchers.get(document_id, ())) >= _MOST_OF_ONE:
            raise Overloaded(
                "too many watch documents now; ask for this one's state every few seconds", retry_after=_RETRY_AFTER
            )

    @contextlib.contextmanager
    def watching(self, document_id: uuid.UUID) -> Iterator[asyncio.Queue[State]]:
        """Give what becomes of a document from now on."""
        queue: asyncio.Queue[State] = asyncio.Queue(_MAX_BEHIND)
        self._watchers.setdefault(document_id, set()).add(queue)
        try:
            yield queue
        finally:
            watchers = self._watchers[document_id]
            watchers.discard(queue)
            if not watchers:
                del self._watchers[document_id]


def _told(document_id: uuid.UUID, state: State) -> dict[str, Any]:
    plain = {"status": str(state.status), "stage": str(state.stage)}
    return {"document_id": str(document_id), **asdict(state), **plain}
