"""The tables' history and the tables the code declares are the same thing, on both databases."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from backend.bootstrap.migrations import script_config
from backend.bootstrap.store import latest_step, open_database
from backend.bootstrap.tables import METADATA
from backend.core.config import Settings, load_settings
from backend.core.db.database import Database
from backend.core.db.pages import PageQuery
from backend.core.errors import ConfigurationError, Conflict
from backend.features.accounts.models import Role
from backend.features.accounts.repository import Roles
from tests.fixtures.databases import PostgresServer
from tests.integration.accounts.conftest import SIGNING

OF_SEARCH = ("history_search", "chunk_terms", "memory_terms")
"""Parts of the names of what a database keeps for searching in its own way; the code declares none of it."""


def tables(connection: Connection) -> set[str]:
    names = inspect(connection).get_table_names()
    return {name for name in names if not of_search(name)} - {"alembic_version"}


def of_search(name: str) -> bool:
    return any(part in name for part in OF_SEARCH)


def is_declared(name: str | None, *_about: Any) -> bool:
    return not of_search(name or "")


def differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "include_name": is_declared}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))


def go(connection: Connection, step: str) -> None:
    config = script_config()
    config.attributes["connection"] = connection
    (command.downgrade if step == "base" else command.upgrade)(config, step)


async def test_the_history_ends_at_what_the_code_declares(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        assert await connection.run_sync(tables) == set(METADATA.tables)


def test_the_history_has_one_end_and_its_name_is_found_without_reading_it() -> None:
    assert ScriptDirectory.from_config(script_config()).get_heads() == [latest_step()]


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a database in which nothing is."""
    if request.param == "sqlite":
        return load_settings(None, data_dir=tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return load_settings(None, data_dir=tmp_path, DATABASE_URL=server.create_database(), JWT_SECRET_KEY=SIGNING)


async def test_every_step_goes_back_and_forth(fresh: Settings) -> None:
    async with open_database(fresh, migrating=True) as database:
        for step, expected in [("base", set()), ("head", set(METADATA.tables))]:
            with contextlib.redirect_stdout(io.StringIO()):
                async with database.engine.begin() as connection:
                    await connection.run_sync(go, step)
            async with database.engine.connect() as connection:
                assert await connection.run_sync(tables) == expected


async def test_only_an_embedded_database_is_brought_up_to_date_at_the_start(fresh: Settings) -> None:
    if fresh.database_url is None:
        async with open_database(fresh) as database, database.engine.connect() as connection:
            assert await connection.run_sync(tables) == set(METADATA.tables)
        return
    with pytest.raises(ConfigurationError, match="run 'passerelle migrate' once"):
        async with open_database(fresh):
            pass


async def add_roles(database: Database, *names: str) -> None:
    roles = Roles()
    async with database.transaction() as transaction:
        for name in names:
            if name == "":
                raise RuntimeError
            await roles.add(transaction, Role(name=name, permissions=[]))


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError):
        await add_roles(database, "lost", "")
    with pytest.raises(Conflict):
        await add_roles(database, "twice", "twice")
    async with database.reading() as reading:
        assert (await Roles().page(reading, Roles().all(), PageQuery())).total == 0


async def test_lists_come_in_pieces(database: Database) -> None:
    roles = Roles()
    await add_roles(database, *[f"role-{number}" for number in range(5)])
    async with database.reading() as reading:
        page = await roles.page(reading, roles.all(), PageQuery(skip=3, limit=10))
    assert ([role.name for role in page.items], page.total) == (["role-3", "role-4"], 5)
