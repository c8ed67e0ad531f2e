"""Tells those who watch a document of this process what happens to it, as it happens."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator

from backend.features.knowledge.states import State

_MAX_BEHIND = 100


class Progress:
    """Hands states on; nobody keeps them here, the store does."""

    def __init__(self) -> None:
        self._watchers: dict[uuid.UUID, set[asyncio.Queue[State]]] = {}

    def tell(self, document_id: uuid.UUID, state: State) -> None:
        """Tell all who watch a document; one who does not listen misses some."""
        for queue in self._watchers.get(document_id, ()):
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(state)

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
