"""Gateways served as `passerelle serve` serves them, with accounts, and chats that a test says who may read."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import socketio
import uvicorn
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from backend.bootstrap import accounts as accounts_module
from backend.bootstrap.application import build_application, guard_application
from backend.bootstrap.container import Container, open_container
from backend.cli.serve import _options
from backend.core.config import Settings, load_settings
from backend.features.accounts import passwords
from backend.features.live.sockets import LiveSockets
from tests.fakes.chats import FakeReader
from tests.fixtures.gateway import free_port
from tests.fixtures.redis import redis_server

__all__ = ["redis_server"]

SECONDS = 20.0
PATH = "/ws/socket.io"
PASSWORD = "a long and rare phrase"  # noqa: S105
OPERATOR_KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
Heard = list[tuple[str, dict[str, Any]]]


class Refused(Exception):
    """The gateway did not let a client connect."""


@dataclass
class User:
    """Somebody with an account, logged in."""

    id: uuid.UUID
    token: str
    trigramme: str


@dataclass
class Client:
    """A socket of a client, and what it heard."""

    socket: socketio.AsyncClient
    heard: Heard = field(default_factory=list)

    async def ask(self, event: str, **fields: Any) -> Any:
        return await self.socket.call(event, fields, timeout=SECONDS)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [data for event, data in self.heard if event == name]

    async def until_heard(self, name: str) -> dict[str, Any]:
        await until(lambda: bool(self.named(name)))
        return self.named(name)[-1]

    async def until_cut(self) -> None:
        await until(lambda: not self.socket.connected)


@dataclass
class Live:
    """A served gateway."""

    url: str
    container: Container
    reader: FakeReader
    clients: list[socketio.AsyncClient] = field(default_factory=list)
    sessions: list[aiohttp.ClientSession] = field(default_factory=list)

    @property
    def sockets(self) -> LiveSockets:
        return self.container.sockets

    def http(self, token: str) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=f"{self.url}/api/v1", headers=headers, timeout=SECONDS, trust_env=False)

    async def login(self, email: str) -> User:
        async with self.http("nothing-in-particular") as http:
            reply = await http.post("/auth/login", json={"email": email, "password": PASSWORD})
            assert reply.status_code == 200, reply.text
            token = reply.json()["access_token"]
        async with self.http(token) as http:
            me = (await http.get("/auth/me")).json()
        return User(uuid.UUID(me["id"]), token, me["trigramme"])

    async def client(
        self, token: str | None, *, headers: dict[str, str] | None = None, query: str = "", **more: Any
    ) -> Client:
        """Connect; raise `Refused` with what the client was told."""
        socket = socketio.AsyncClient(reconnection=False)
        client = Client(socket)

        async def on_any(event: str, data: dict[str, Any]) -> None:
            client.heard.append((event, data))

        told: list[object] = []

        async def on_error(data: object) -> None:
            told.append(data)

        socket.on("*", on_any)
        socket.on("connect_error", on_error)
        self.clients.append(socket)
        auth = None if token is None else {"token": token}
        options = {"transports": ["websocket"], "socketio_path": PATH, "auth": auth, "wait_timeout": SECONDS, **more}
        try:
            await socket.connect(self.url + query, headers=headers or {}, **options)
        except socketio.exceptions.ConnectionError as error:
            raise Refused(str(told)) from error
        return client

    def rooms(self, client: Client) -> set[str]:
        """Return the rooms a socket is in, besides its own."""
        sid = client.socket.get_sid()
        return set(self.sockets.server.rooms(sid)) - {sid}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 (another machine's doing)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serve(settings: Settings, reader: FakeReader) -> AsyncIterator[Live]:
    """Yield a served gateway."""
    opened: list[Container] = []

    @contextlib.asynccontextmanager
    async def remembered(given: Settings) -> AsyncIterator[Container]:
        async with open_container(given) as container:
            opened.append(container)
            yield container

    port = free_port()
    settings = settings.model_copy(update={"server": settings.server.model_copy(update={"port": port})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backend.bootstrap.application.open_container", remembered)
        application = guard_application(build_application(settings), settings)
        server = uvicorn.Server(uvicorn.Config(application, **{**_options(settings), "timeout_graceful_shutdown": 2}))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  # signals are the test runner's
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started or serving.done())
    opened[0].history.service.may_read = reader.may_read  # type: ignore[method-assign]
    live = Live(f"http://127.0.0.1:{port}", opened[0], reader)
    try:
        yield live
    finally:
        for client in live.clients:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.shutdown(), 5)
        for session in live.sessions:
            await session.close()
        server.should_exit = True
        await asyncio.wait_for(serving, SECONDS)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(accounts_module, "argon2id", lambda: quick)
    monkeypatch.setattr(passwords, "NOBODY", quick.hash("nobody at all"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        None,
        data_dir=tmp_path / "data",
        api_keys=OPERATOR_KEY,
        cors_origins="https://chat.example",
        mistral_api_key="no-key-of-anybody",
        mistral_base_url="http://127.0.0.1:9",
    )


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[Live]:
    async with serve(settings, FakeReader()) as served:
        yield served


@pytest.fixture
async def admin(live: Live) -> User:
    await live.container.accounts.own.create_admin("ada@example.org", PASSWORD)
    return await live.login("ada@example.org")


async def make_user(live: Live, admin: User, name: str) -> User:
    async with live.http(admin.token) as http:
        body = {"email": f"{name}@example.org", "password": PASSWORD, "role": "user"}
        reply = await http.post("/admin/users", json=body)
        assert reply.status_code == 201, reply.text
    return await live.login(f"{name}@example.org")


@pytest.fixture
async def eve(live: Live, admin: User) -> User:
    return await make_user(live, admin, "eve")


@pytest.fixture
async def bob(live: Live, admin: User) -> User:
    return await make_user(live, admin, "bob")
