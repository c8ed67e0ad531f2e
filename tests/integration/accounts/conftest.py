"""Accounts on both databases: the same tests on a SQLite file and on a real PostgreSQL."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from backend.bootstrap import accounts as accounts_module
from backend.bootstrap import backends as backends_module
from backend.bootstrap.application import build_application
from backend.bootstrap.container import Container
from backend.bootstrap.store import open_database
from backend.bootstrap.tables import METADATA
from backend.core.config import Settings, load_settings
from backend.core.db.database import Database
from backend.features.accounts import passwords
from backend.web.access import AccessLog
from tests.fixtures.databases import PostgresServer, postgres

__all__ = ["postgres"]

KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
SIGNING = "9c1f6e0b7d2a4853c6e8f0a1b2d3c4e5"
PASSWORD = "a long and rare phrase"  # noqa: S105
ADMIN_EMAIL = "ada@example.org"
Values = Mapping[str, Any]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Values:
    """Settings of a database with current tables, one per module and kind."""
    values: dict[str, Any] = {"jwt_secret_key": SIGNING}
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        values["database_url"] = server.create_database()
    folder = tmp_path_factory.mktemp(request.param)
    asyncio.run(_migrate(load_settings(None, data_dir=folder, **values)))
    return {**values, "template": folder}


async def _migrate(settings: Settings) -> None:
    async with open_database(settings, migrating=True):
        pass


@pytest.fixture
async def settings(store: Values, tmp_path: Path) -> Settings:
    """Settings of an empty database that asks for keys."""
    values = {name: value for name, value in store.items() if name != "template"}
    data_dir = tmp_path / "data"
    if "database_url" not in values:
        shutil.copytree(store["template"], data_dir)
    made = load_settings(None, data_dir=data_dir, api_keys=KEY, **values)
    if "database_url" in values:
        async with open_database(made) as database, database.transaction() as transaction:
            for table in reversed(METADATA.sorted_tables):
                await transaction.execute(table.delete())
    return made


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with open_database(settings) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash quickly, and find no other server on this machine."""
    quick = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(accounts_module, "argon2id", lambda: quick)
    monkeypatch.setattr(passwords, "NOBODY", quick.hash("nobody at all"))

    async def nowhere(_settings: Settings) -> bool:
        return False

    monkeypatch.setattr(backends_module, "_finds_local_ollama", nowhere)


@dataclass
class Side:
    """The side API without a socket."""

    client: httpx.AsyncClient
    container: Container
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", json=body, headers=headers, **more)

    async def login(self, email: str = ADMIN_EMAIL, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
        reply = await self.ask("POST", "/auth/login", {"email": email, "password": password}, **more)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def as_user(self, email: str = ADMIN_EMAIL, password: str = PASSWORD) -> "Side":
        tokens = await self.login(email, password)
        return Side(self.client, self.container, {"authorization": f"Bearer {tokens['access_token']}"})

    async def make_user(self, email: str, role: str = "user", **more: Any) -> dict[str, Any]:
        body = {"email": email, "password": PASSWORD, "role": role, **more}
        reply = await self.ask("POST", "/admin/users", body)
        assert reply.status_code == 201, reply.text
        made: dict[str, Any] = reply.json()
        return made

    async def actions(self) -> list[str]:
        reply = await self.ask("GET", "/admin/audit?limit=100")
        return [entry["action"] for entry in reply.json()["items"]]


@contextlib.asynccontextmanager
async def open_side(settings: Settings) -> AsyncIterator[Side]:
    """Yield the side API of a gateway with these settings."""
    app = build_application(settings)
    async with app.router.lifespan_context(app) as state:
        assert state is not None

        async def served(scope: Any, receive: Any, send: Any) -> None:
            await AccessLog(app)({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield Side(client, state["container"])


@pytest.fixture
async def side(settings: Settings) -> AsyncIterator[Side]:
    """A gateway that asks for keys and has no account."""
    async with open_side(settings) as opened:
        yield opened


@pytest.fixture
async def admin(side: Side) -> Side:
    """The same, asked by its only administrator."""
    await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
    return await side.as_user()
