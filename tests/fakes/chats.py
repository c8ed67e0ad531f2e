"""Who may read which chat, as a test says."""

import uuid
from collections.abc import Callable

from backend.core.errors import StoreUnavailable
from backend.features.auth.principal import Principal


class FakeReader:
    """A `ChatReader` of which a test says whom it lets read what."""

    def __init__(self) -> None:
        self.readers: dict[uuid.UUID, set[uuid.UUID]] = {}
        self.is_away = False
        self.on_ask: Callable[[], None] = lambda: None

    def share(self, chat_id: uuid.UUID, *users: uuid.UUID) -> uuid.UUID:
        self.readers.setdefault(chat_id, set()).update(users)
        return chat_id

    async def may_read(self, principal: Principal, chat_id: uuid.UUID) -> bool:
        self.on_ask()
        if self.is_away:
            raise StoreUnavailable("away")
        return principal.user_id in self.readers.get(chat_id, set())
