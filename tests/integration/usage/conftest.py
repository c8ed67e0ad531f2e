"""The ledger on both databases: as services, and behind a real server."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Select, select

from backend.bootstrap.application import build_application, guard_application
from backend.bootstrap.container import Container
from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from backend.core.db.database import Database
from backend.features.accounts.models import User
from backend.features.audit.service import Caller
from backend.features.auth.principal import OPERATOR
from backend.features.keys.scope import KeyDraft
from backend.features.usage.models import QuotaWindow, UsageEntry
from tests.clients import scripts
from tests.fakes.scripted_upstream import SSE, Piece, Reply, ScriptedUpstream
from tests.fixtures.team_gateway import served
from tests.integration.accounts.conftest import (
    ADMIN_EMAIL,
    PASSWORD,
    Side,
    _quick,
    admin,
    database,
    postgres,
    settings,
    side,
    store,
)
from tests.integration.keys.conftest import bob, eve, make_key, with_key

__all__ = [
    *("_quick", "admin", "bob", "database", "eve", "make_key", "postgres", "settings", "side", "store", "with_key"),
    "Side",
]

MODEL = "mistral-small-latest"
FULL = f"{MODEL}:latest"
HI = [{"role": "user", "content": "hi"}]
WORD = b'data: {"choices":[{"delta":{"content":"word "},"finish_reason":null}]}\n\n'


def usage_json(prompt: object, completion: object) -> str:
    return f'{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}'


def answer(prompt: object = 7, completion: object = 3, *, words: int = 3, delay: float = 0.0) -> Reply:
    """Return an answer of some words whose upstream counts as it likes."""
    end = f'data: {{"choices":[{{"delta":{{}},"finish_reason":"stop"}}],"usage":{usage_json(prompt, completion)}}}\n\n'
    pieces = (*(Piece(WORD, delay) for _ in range(words)), Piece(end.encode(), delay), Piece(b"data: [DONE]\n\n"))
    choice = '{"message":{"role":"assistant","content":"word word word "},"finish_reason":"stop"}'
    unary = f'{{"choices":[{choice}],"usage":{usage_json(prompt, completion)}}}'
    return Reply(200, {"content-type": SSE}, pieces, unary.encode())


@dataclass
class Counting:
    """A gateway that serves, its upstream, and its database."""

    url: str
    upstream: ScriptedUpstream
    container: Container
    owner: User

    def http(self, key: str) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=250)
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=30,
            trust_env=False,
            limits=limits,
        )

    async def key(self, tokens_per_day: int | None = None, **more: Any) -> tuple[str, str]:
        """Return a new key and how it is called in the ledger."""
        draft = KeyDraft("test", 1, tokens_per_day=tokens_per_day, **more)
        made = await self.container.keys.own.create(Caller(OPERATOR), self.owner.id, draft)
        return made.key, f"key-{made.row.id}"

    async def rows(self) -> list[UsageEntry]:
        return await all_of(self.container.database, select(UsageEntry).order_by(UsageEntry.at))

    async def window(self, subject: str) -> tuple[int, int]:
        statement = select(QuotaWindow).where(QuotaWindow.subject == subject)
        windows = await all_of(self.container.database, statement)
        return sum(w.spent for w in windows), sum(w.reserved for w in windows)


async def all_of(database: Database, statement: Select[Any]) -> list[Any]:
    async with database.reading() as reading:
        return list((await reading.scalars(statement)).all())


@contextlib.asynccontextmanager
async def open_counting(settings: Settings, upstream: ScriptedUpstream, **changes: Any) -> AsyncIterator[Counting]:
    """Yield a gateway with these settings before an upstream."""
    known = {name: getattr(settings, name) for name in ("data_dir", "database_url", "jwt_secret_key")}
    upstream.defaults["GET /v1/models"] = scripts.mistral_models()
    values = {"auth": "keys", "mistral_api_key": "test-key", "mistral_base_url": upstream.url}
    made = load_settings(None, **{**known, **values, **changes})
    application = build_application(made)
    containers: list[Container] = []
    lifespan = application.router.lifespan_context

    @contextlib.asynccontextmanager
    async def remembered(app: Any) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            containers.append(state["container"])  # type: ignore[index]
            yield state

    application.router.lifespan_context = remembered
    async with served(guard_application(application, made)) as port:
        [container] = containers
        with contextlib.suppress(Exception):
            await container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        async with container.database.reading() as reading:
            owner = (await reading.scalars(select(User).where(User.email == ADMIN_EMAIL))).unique().one()
        yield Counting(f"http://127.0.0.1:{port}", upstream, container, owner)


OpenCounting = Callable[..., contextlib.AbstractAsyncContextManager[Counting]]


@pytest.fixture
async def counting(settings: Settings) -> AsyncIterator[Counting]:
    """A gateway before an upstream that answers in three words and counts seven and three tokens."""
    with ScriptedUpstream() as upstream:
        upstream.script(scripts.CHAT, [answer()])
        async with open_counting(settings, upstream) as opened:
            yield opened


async def migrated(folder: Path, **values: Any) -> Settings:
    """Return settings of a new database."""
    made = load_settings(None, data_dir=folder, **values)
    async with open_database(made, migrating=True):
        pass
    return made
