"""Settings -> the open database, its tables as the code expects them.

On SQLite due steps run at every start. Elsewhere `passerelle migrate` runs them, once for all processes, and a gateway
whose database is behind refuses to start with one line that says so.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from backend.core.config import Settings
from backend.core.db.database import Database, database_url
from backend.core.errors import ConfigurationError

_STEPS = Path(__file__).parents[1] / "migrations" / "versions"
_BEHIND = "the database's tables are not up to date: run 'passerelle migrate' once, then start"
_UNREACHABLE = "the database of DATABASE_URL cannot be used: start it, or correct its address, user and password"


@contextlib.asynccontextmanager
async def open_database(settings: Settings, *, migrating: bool = False) -> AsyncIterator[Database]:
    """Yield the database with current tables.

    Args:
        settings: where it is.
        migrating: run due steps on a database server too.

    Raises:
        ConfigurationError: it cannot be used, or steps are due that somebody else must run.
    """
    prepared(settings)
    configured = None if settings.database_url is None else settings.database_url.get_secret_value()
    try:
        database = Database(database_url(configured, settings.data_dir))
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "DATABASE_URL is not an address such as postgresql://user:password@host/name"
        ) from None
    try:
        await _bring_up_to_date(database, migrating=migrating or database.is_embedded)
        yield database
    finally:
        await database.aclose()


async def check_database(settings: Settings) -> None:
    """Open the database once and close it again; raise `ConfigurationError` when it cannot be used."""
    async with open_database(settings):
        pass


def prepared(settings: Settings) -> Settings:
    """Return the settings once their data folder is there, made for the gateway's user alone."""
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise ConfigurationError(f"GATEWAY_DATA_DIR {folder} cannot be made: {reason}; name another folder") from None
    return settings


async def _bring_up_to_date(database: Database, *, migrating: bool) -> None:
    try:
        async with database.engine.connect() as connection:
            current = await connection.run_sync(_current_step)
        if current == latest_step():
            return
        if not migrating:
            raise ConfigurationError(_BEHIND)
        _quieten_alembic()
        from backend.bootstrap.migrations import migrate  # noqa: PLC0415 (alembic is loaded only when it has work)

        await migrate(database)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        where = f"{database.url.database} cannot be opened as a database" if database.is_embedded else _UNREACHABLE
        raise ConfigurationError(where) from error


def _quieten_alembic() -> None:
    """Let alembic tell of its plugins and steps only where somebody looks for faults; it does so when imported, too."""
    is_debugging = logging.getLogger().isEnabledFor(logging.DEBUG)
    logging.getLogger("alembic").setLevel(logging.INFO if is_debugging else logging.WARNING)


def _current_step(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    step = connection.execute(text("select version_num from alembic_version")).scalar()
    return None if step is None else str(step)


def latest_step() -> str:
    """Return the name of the newest step this code knows."""
    return max(path.name.removeprefix("v").partition("_")[0] for path in _STEPS.glob("v*_*.py"))
