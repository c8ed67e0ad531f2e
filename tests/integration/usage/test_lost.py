"""What becomes of requests whose gateway dies, or whose database goes away, in the middle."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select

from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.core.errors import NotAuthenticated, QuotaExceeded, StoreUnavailable
from backend.features.accounts.models import Role, User
from backend.features.auth.context import CallContext
from backend.features.auth.principal import Principal
from backend.features.generation.record import Answered, Asked
from backend.features.generation.transcript import Transcript
from backend.features.usage.entries import Settle
from backend.features.usage.housekeeping import Housekeeping, Retention
from backend.features.usage.ledger import Ledger
from backend.features.usage.limits import Limits
from backend.features.usage.models import QuotaWindow, UsageEntry, UserQuota
from backend.features.usage.prices import PriceList
from backend.features.usage.recorder import UsageRecord, UsageRecorder
from backend.features.usage.writer import write
from backend.llm.events import Usage
from backend.llm.types import ChatRequest, Message, Sampling, TextPart
from tests.clients import scripts
from tests.fakes.providers import ScriptedProvider, backend_of, info, model_of
from tests.fakes.records import begin
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.counting import HI, MODEL, answer
from tests.fixtures.gateway import Gateway, run_gateway

SECONDS = 90.0
pytestmark = pytest.mark.timeout(180)
EMAIL, PASSWORD = "eve@example.org", "a long and rare phrase"
ASK = {"model": MODEL, "messages": HI, "options": {"num_predict": 9}}
LIMITED = Principal("key-1", tokens_per_day=25)
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Bench:
    """A recorder on a database, and a clock that the test turns."""

    def __init__(self, database: Database, max_spool: int = 100) -> None:
        self.now = NOON
        self.database = database
        self.commits = GroupCommit(database)
        self.ledger = Ledger(self.commits, max_spool)
        self.limits = Limits(database, None)
        prices = PriceList({}, "EUR")
        self.recorder = UsageRecorder(self.ledger, self.limits, prices, answer_tokens=1024, now=lambda: self.now)
        self.keeper = Housekeeping(
            database, self.ledger, self.limits, prices, Retention(timedelta(minutes=20), 400), lambda: self.now
        )

    async def begin(self, principal: Principal = LIMITED, max_tokens: int = 5) -> UsageRecord:
        request = ChatRequest("M", (Message("user", (TextPart("hi"),)),), sampling=Sampling(max_tokens=max_tokens))
        model = model_of(backend_of(ScriptedProvider(), "b"), known=info("up-id"))
        record = await begin(self.recorder, Asked(CallContext(principal), model, request, lambda: 5, Transcript()))
        assert isinstance(record, UsageRecord)
        return record

    async def finish(self, record: UsageRecord, prompt: int = 5, completion: int = 3) -> None:
        record.finish(Answered("ok", Usage(prompt, completion), "b", "up-id", 0.5, 0.1))
        await self.written()

    async def written(self) -> None:
        await self.commits.write(_nothing, None)

    async def rows(self) -> list[UsageEntry]:
        async with self.database.reading() as reading:
            return list((await reading.scalars(select(UsageEntry).order_by(UsageEntry.at))).all())

    async def windows(self) -> list[tuple[str, int, int]]:
        async with self.database.reading() as reading:
            rows = (await reading.scalars(select(QuotaWindow).order_by(QuotaWindow.day))).all()
        return [(row.day.isoformat(), row.spent, row.reserved) for row in rows]


def _nothing(_connection: object, items: list[None]) -> list[None]:
    return items


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    made = Bench(database)
    made.commits.start()
    yield made
    await made.commits.aclose()


async def test_a_request_across_midnight_counts_for_the_day_on_which_it_began(bench: Bench) -> None:
    bench.now = datetime(2026, 11, 26, 23, 59, 50, tzinfo=UTC)
    late = await bench.begin()
    bench.now += timedelta(seconds=20)
    early = await bench.begin()
    await bench.finish(late)
    assert await bench.windows() == [("2026-11-26", 8, 0), ("2026-11-27", 0, 10)]
    await bench.finish(early)
    assert await bench.windows() == [("2026-11-26", 8, 0), ("2026-11-27", 8, 0)]


async def test_an_end_counts_once(bench: Bench) -> None:
    record = await bench.begin()
    for _ in range(3):
        await bench.finish(record)
    assert await bench.windows() == [("2026-11-26", 8, 0)]
    assert len(await bench.rows()) == 1


async def test_what_nobody_can_be_answering_is_lost_and_its_reservation_is_free_again(bench: Bench) -> None:
    await bench.begin()
    await bench.begin()
    with pytest.raises(QuotaExceeded):
        await bench.begin()
    bench.now += timedelta(minutes=19)
    assert await bench.keeper.give_up(bench.now - timedelta(minutes=20)) == 0
    bench.now += timedelta(minutes=2)
    await bench.keeper.sweep()
    assert {(row.status, row.prompt_tokens, row.completion_tokens) for row in await bench.rows()} == {("lost", 5, 0)}
    assert await bench.windows() == [("2026-11-26", 10, 0)]


async def test_the_end_of_a_request_that_was_given_up_counts_after_all(bench: Bench) -> None:
    record = await bench.begin()
    bench.now += timedelta(minutes=21)
    await bench.keeper.sweep()
    await bench.finish(record, 6, 7)
    await bench.finish(record, 6, 7)
    await bench.keeper.give_up(bench.now)
    [row] = await bench.rows()
    assert (row.status, row.prompt_tokens, row.completion_tokens) == ("ok", 6, 7)
    assert await bench.windows() == [("2026-11-26", 13, 0)]


async def test_a_request_that_is_given_up_and_ends_in_the_same_moment_counts_once(bench: Bench) -> None:
    first, second = await bench.begin(), await bench.begin()
    ends = [(first, "lost", 5), (first, "ok", 7), (first, "ok", 9), (second, "ok", 4), (second, "lost", 5)]
    items = [Settle(record.entry, status, tokens, 0, bench.now) for record, status, tokens in ends]
    await asyncio.gather(*(bench.commits.write(write, item) for item in items))
    assert {(row.status, row.prompt_tokens) for row in await bench.rows()} == {("ok", 7), ("ok", 4)}
    assert await bench.windows() == [("2026-11-26", 11, 0)]


async def test_a_caller_who_leaves_while_the_quota_is_asked_holds_nothing_back(bench: Bench) -> None:
    asking = asyncio.create_task(bench.begin())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await bench.written()
    assert all(window[1:] == (0, 0) for window in await bench.windows())
    assert all(row.status == "interrupted" for row in await bench.rows())


async def test_a_request_that_ends_at_once_is_one_row(bench: Bench) -> None:
    record = await bench.begin(Principal(None))
    await bench.finish(record)
    [row] = await bench.rows()
    assert (row.status, row.prompt_tokens, row.completion_tokens, row.ms, row.first_token_ms) == ("ok", 5, 3, 500, 100)


async def test_two_processes_never_share_what_one_may_use(bench: Bench) -> None:
    other = Bench(Database(bench.database.url))
    other.commits.start()
    tries = [(bench if number % 2 else other).begin(Principal("key-2", tokens_per_day=100)) for number in range(40)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    records = [record for record in done if isinstance(record, UsageRecord)]
    assert len(records) == 10
    assert all(isinstance(record, UsageRecord | QuotaExceeded) for record in done)
    for number, record in enumerate(records):
        await (bench if number % 2 else other).finish(record)
    await other.commits.aclose()
    await other.database.aclose()
    assert await bench.windows() == [("2026-11-26", 80, 0)]


class Away:
    """Stands in for a database that does not answer while it is told so."""

    def __init__(self, database: Database) -> None:
        self._in_one = database.in_one
        self.is_away = False

    async def in_one(self, work: Any, *, is_durable: bool = True) -> Any:
        if self.is_away:
            raise StoreUnavailable("away", retry_after=2.0)
        return await self._in_one(work, is_durable=is_durable)


async def test_without_the_store_a_quota_lets_nobody_pass_and_others_lose_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(bench.database)
    monkeypatch.setattr(bench.database, "in_one", away.in_one)
    running = await bench.begin()
    away.is_away = True
    with pytest.raises(StoreUnavailable, match="your quota cannot be checked"):
        await bench.begin()
    free = await bench.begin(Principal(None))
    for record in (running, free):
        record.finish(Answered("ok", Usage(5, 3), "b", "up-id", 0.5))
    async with asyncio.timeout(SECONDS):
        while bench.ledger.spooled < 2:  # noqa: ASYNC110 (writes are tried in the background)
            await asyncio.sleep(0.01)
    await bench.ledger.retry()
    assert bench.ledger.spooled >= 2
    away.is_away = False
    await bench.ledger.retry()
    assert bench.ledger.spooled == 0
    assert [(row.status, row.prompt_tokens) for row in await bench.rows()] == [("ok", 5), ("ok", 5)]
    assert await bench.windows() == [("2026-11-26", 8, 0)]


async def test_what_waits_for_the_store_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(database, max_spool=3)
    away = Away(database)
    away.is_away = True
    monkeypatch.setattr(database, "in_one", away.in_one)
    bench.commits.start()
    for _ in range(5):
        record = await bench.begin(Principal(None))
        record.finish(Answered("ok", Usage(5, 3), "b", "up-id", 0.5))
    with pytest.raises(StoreUnavailable):
        await bench.written()
    assert bench.ledger.spooled == 3
    away.is_away = False
    await bench.ledger.retry()
    assert len(await bench.rows()) == 3
    await bench.commits.aclose()


async def add_user(database: Database) -> User:
    async with database.transaction() as transaction:
        role = Role(name="r", permissions=[])
        transaction.add(role)
        await transaction.flush()
        user = User(email="eve@example.org", trigramme="eve", role_id=role.id)
        transaction.add(user)
        await transaction.flush()
    return user


async def test_what_an_erased_user_used_stays_in_the_sums_and_leads_to_nobody(bench: Bench) -> None:
    user = await add_user(bench.database)
    principal = Principal("key-3", user_id=user.id)
    await bench.finish(await bench.begin(principal))
    running = await bench.begin(principal)
    await bench.written()
    async with bench.database.transaction() as transaction:
        transaction.add(UserQuota(user_id=user.id, tokens_per_day=5))
        await transaction.flush()
        await transaction.execute(delete(User).where(User.id == user.id))
    await bench.finish(running)
    await bench.finish(await bench.begin(principal))
    await bench.ledger.retry()
    await bench.keeper.tidy()
    rows = await bench.rows()
    assert [(row.status, row.prompt_tokens) for row in rows] == [("ok", 5)] * 3
    assert {(row.user_id, row.key_id, row.of_account, row.request_id) for row in rows} == {(None, None, False, "")}


async def test_a_user_who_was_just_erased_is_told_that_their_access_has_ended(bench: Bench) -> None:
    with pytest.raises(NotAuthenticated, match="your access was ended"):
        await bench.begin(Principal("key-4", user_id=uuid.uuid4(), tokens_per_day=25))
    await bench.ledger.retry()
    assert all(window[1:] == (0, 0) for window in await bench.windows())


async def test_old_rows_go_and_young_ones_stay(bench: Bench) -> None:
    for age in (401, 399, 0):
        bench.now = NOON - timedelta(days=age)
        await bench.finish(await bench.begin())
    bench.now = NOON
    await bench.keeper.tidy()
    assert [(NOON - row.at).days for row in await bench.rows()] == [399, 0]
    assert await bench.windows() == [("2026-11-26", 8, 0)]


def _table(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "data" / "passerelle.db")) as connection:
        return connection.execute(statement).fetchall()


async def _key_with_quota(gateway: Gateway, folder: Path, env: dict[str, str]) -> str:
    """Return a key that may use a hundred tokens a day."""
    arguments = ("-m", "backend", "admin", "create", "--email", EMAIL, "--password", PASSWORD)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env={**os.environ, **env, "GATEWAY_DATA_DIR": str(folder / "data")},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await running.wait() == 0
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15, trust_env=False) as http:
        body = {"email": EMAIL, "password": PASSWORD}
        token = (await http.post("/api/v1/auth/login", json=body)).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        made = await http.post("/api/v1/keys", json={"name": "k", "tokens_per_day": 100}, headers=headers)
        return str(made.json()["key"])


async def test_a_killed_gateway_leaves_one_lost_row_for_each_request_and_no_reservation(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = scripts.mistral_models()
        upstream.script(scripts.CHAT, [answer(), answer(words=2_000, delay=0.02)])
        env = {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        with run_gateway(tmp_path, env) as gateway:
            key = await _key_with_quota(gateway, tmp_path, env)
            headers = {"authorization": f"Bearer {key}"}
            async with (
                asyncio.timeout(SECONDS),
                httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False) as http,
            ):
                assert (await http.post("/api/chat", json={**ASK, "stream": False})).status_code == 200
                await asyncio.gather(*(_read_some(http) for _ in range(3)), _kill(gateway, tmp_path))
        assert _table(tmp_path, "select spent, reserved from quota_windows") == [(10, 30)]
        with run_gateway(tmp_path, env):
            pass
    rows = _table(tmp_path, "select status, prompt_tokens + completion_tokens, reserved from usage_entries order by at")
    assert rows == [("ok", 10, 0)] + [("lost", 1, 0)] * 3
    assert _table(tmp_path, "select spent, reserved from quota_windows") == [(13, 0)]


async def _read_some(http: httpx.AsyncClient) -> None:
    """Read an answer until its gateway is gone."""
    with contextlib.suppress(httpx.HTTPError):
        async with http.stream("POST", "/api/chat", json=ASK) as reply:
            async for line in reply.aiter_lines():
                assert not json.loads(line).get("done")


async def _kill(gateway: Gateway, folder: Path) -> None:
    """Kill the gateway once three answers are under way and the first one is settled."""
    while True:
        states = [row[0] for row in _table(folder, "select status from usage_entries")]
        if sorted(states) == ["ok", "open", "open", "open"]:
            gateway.process.send_signal(signal.SIGKILL)
            return
        await asyncio.sleep(0.05)
