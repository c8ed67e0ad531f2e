"""Settings -> the open database, its tables as the code expects them."""

import contextlib
from collections.abc import AsyncIterator

from backend.bootstrap.migrations import migrate
from backend.core.config import Settings
from backend.core.db.database import Database, database_url


@contextlib.asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Yield the database with current tables."""
    database = Database(database_url(None, settings.data_dir))
    try:
        await migrate(database)
        yield database
    finally:
        await database.aclose()
