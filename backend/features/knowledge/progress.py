"""Tells those who watch a document of this process, or listen to its chat, what happens to it, as it happens."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict

from backend.core.errors import Overloaded
from backend.features.knowledge.states import State
from backend.features.live.events import LiveEvent

_MAX_BEHIND = 100
_MOST_WATCHERS, _MOST_OF_ONE = 1_000, 20
"""In this process, and of one document: each of them has the store asked once a second."""
_RETRY_AFTER = 5.0


class Progress:
    """Hands states on; nobody keeps them here, the store does.

    Args:
        publish: tells whoever listens to a chat.
    """

    def __init__(self, publish: Callable[[LiveEvent], None] = lambda _event: None) -> None:
        self._publish = publish
        self._watchers: dict[uuid.UUID, set[asyncio.Queue[State]]] = {}

    def tell(self, document_id: uuid.UUID, state: State, chat_id: uuid.UUID | None = None) -> None:
        """Tell all who watch a document, and those who listen to the chat it is in; who does not listen misses some."""
        if chat_id is not None:
            plain = {"status": str(state.status), "stage": str(state.stage)}
            told = {"document_id": str(document_id), **asdict(state), **plain}
            self._publish(LiveEvent(chat_id, "document_progress", told))
        for queue in self._watchers.get(document_id, ()):
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(state)

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
