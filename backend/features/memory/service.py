"""What users can do with what agents remember of them: list, take along, remove."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from backend.core.db.database import Database
from backend.core.db.pages import Page, PageQuery
from backend.core.errors import NotFound
from backend.features.auth.principal import Principal
from backend.features.memory.models import Memory
from backend.features.memory.repository import MemoryRepository

_WIPE_SECONDS = 5.0
_PIECE = 100


class MemoryService:
    """The memories of each account, for the account alone: not even an agent's owner sees those of its users.

    Args:
        database: holds them.
        compact: wipes what was removed off the disk.
    """

    def __init__(self, database: Database, compact: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._compact = compact
        self._memories = MemoryRepository()

    async def page(self, principal: Principal, query: PageQuery, agent_id: uuid.UUID | None = None) -> Page[Memory]:
        """Return a piece of the caller's memories, the newest first: all, or those with one agent."""
        async with self._database.reading() as session:
            found, total = await self._memories.page(session, _owner(principal), agent_id, query)
        return Page(found, total, query.skip, query.limit)

    async def remove(self, principal: Principal, memory_id: uuid.UUID) -> None:
        """Remove one of the caller's memories; raise `NotFound` for any other."""
        async with self._database.transaction() as session:
            if not await self._memories.remove(session, _owner(principal), memory_id=memory_id):
                raise NotFound("there is no such memory")

    async def remove_all(self, principal: Principal, agent_id: uuid.UUID) -> None:
        """Remove what one agent remembers of the caller, off the disk too."""
        async with self._database.transaction() as session:
            await self._memories.remove(session, _owner(principal), agent_id=agent_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WIPE_SECONDS):
                await self._compact()

    async def export(self, principal: Principal) -> AsyncIterator[Sequence[Memory]]:
        """Yield all memories of the caller's, some at a time, the newest first."""
        before: int | None = None
        while True:
            async with self._database.reading() as session:
                found = await self._memories.before(session, _owner(principal), before, _PIECE)
            if not found:
                return
            yield found
            before = found[-1].number


def _owner(principal: Principal) -> uuid.UUID:
    if principal.user_id is None:
        raise NotFound("memories belong to an account: log in, or send a key of your account")
    return principal.user_id
