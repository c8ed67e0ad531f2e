"""Brings the tables of a database to what the code expects.

On SQLite this happens at every start. Elsewhere `passerelle migrate` does it, once for all processes, and a gateway
whose database is behind refuses to start with one line that says so.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from backend.core.db.database import Database
from backend.core.errors import ConfigurationError

_FOLDER = Path(__file__).parents[1] / "migrations"


def script_config() -> Config:
    """Return what alembic must know about where the steps lie."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    return config


async def migrate(database: Database) -> None:
    """Run every step that is due; two processes at once do no harm, one waits for the other."""
    async with database.engine.begin() as connection:
        await connection.run_sync(_upgrade)


async def require_current(database: Database) -> None:
    """Raise `ConfigurationError` when steps are due."""
    async with database.engine.connect() as connection:
        current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    if current != ScriptDirectory.from_config(script_config()).get_current_head():
        raise ConfigurationError("the database's tables are not up to date: run 'passerelle migrate' once, then start")


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("select pg_advisory_xact_lock(7277061)")
    config = script_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
