"""Opens the index of agents."""

import contextlib
from collections.abc import AsyncIterator

from backend.core.db.database import Database
from backend.features.agents.index import AgentIndex


@contextlib.asynccontextmanager
async def open_index(database: Database) -> AsyncIterator[AgentIndex]:
    """Yield the index, read once and looking for changes until it is closed."""
    index = AgentIndex(database)
    await index.refresh()
    index.start()
    try:
        yield index
    finally:
        await index.aclose()
