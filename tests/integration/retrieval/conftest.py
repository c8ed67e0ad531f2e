"""Documents on both databases, and a gateway whose callers are a team."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.bootstrap.migrations import migrate
from backend.core.db.database import Database, database_url
from backend.features.knowledge import augmenter, retrieval
from tests.fakes import team
from tests.fixtures.databases import PostgresServer, postgres
from tests.fixtures.team_gateway import team_gateway

__all__ = ["postgres", "team_gateway"]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches take their time: on a busy machine they are late, which is no part of these promises."""
    for name in ("EMBED_SECONDS", "SEARCH_SECONDS"):
        monkeypatch.setattr(retrieval, name, 20.0)
    monkeypatch.setattr(augmenter, "TOTAL_SECONDS", 30.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Where an empty database is; None for a file in the data folder."""
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database()


@pytest.fixture
async def database(address: str | None, tmp_path: Path) -> AsyncIterator[Database]:
    """Yield a database with the team in it."""
    opened = Database(database_url(address, tmp_path))
    await migrate(opened)
    await team.fill(opened)
    yield opened
    await opened.aclose()
