"""Brings the tables of a database to what the code expects.

Imported only when steps are due, for alembic and what it brings are a fifth of an idle gateway's memory.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from backend.core.db.database import Database

_FOLDER = Path(__file__).parents[1] / "migrations"


def script_config() -> Config:
    """Return what alembic must know about where the steps lie."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    return config


async def migrate(database: Database) -> None:
    """Run every step that is due; two processes at once do no harm, one waits for the other."""
    async with database.unhurried() as connection:
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("select pg_advisory_xact_lock(7277061)")
    config = script_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
