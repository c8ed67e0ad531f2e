"""Requests a minute are counted over all gateways on one Redis, and told in the words of each wire."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.keys import open_keys
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import load_settings
from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.principal import OPERATOR
from backend.features.auth.running import RunningCalls
from backend.features.keys.scope import KeyDraft
from tests.fixtures.gateway import Gateway, run_gateway
from tests.fixtures.redis import RedisServer, run_redis

HI = [{"role": "user", "content": "hi"}]
ASKED: dict[str, dict[str, Any] | None] = {
    "/api/chat": {"messages": HI, "stream": False},
    "/v1/chat/completions": {"messages": HI},
    "/v1/messages": {"messages": HI, "max_tokens": 50},
    "/v1/responses": {"input": "hi"},
    "/api/v1/keys": None,
}
LIMIT = 2
SENTENCE = f"this key may send {LIMIT} requests a minute; try again in "
SHAPES: dict[str, Any] = {
    "/api/chat": {"error": SENTENCE},
    "/v1/chat/completions": {"error": {"message": SENTENCE}},
    "/v1/messages": {"type": "error", "error": {"type": "rate_limit_error", "message": SENTENCE}},
    "/v1/responses": {"error": {"message": SENTENCE}},
    "/api/v1/keys": {"detail": SENTENCE},
}


def holds(told: Any, wanted: Any) -> bool:
    """Whether all that is wanted stands where it should, whatever else is told."""
    if isinstance(wanted, dict):
        return all(name in told and holds(told[name], value) for name, value in wanted.items())
    return str(told).startswith(str(wanted))


@dataclass
class Pair:
    """Two gateways that know the same keys and share a Redis."""

    gateways: tuple[Gateway, Gateway]
    redis: RedisServer
    keys: dict[str, str]

    def ask(self, number: int, path: str, key: str) -> httpx.Response:
        with httpx.Client(base_url=self.gateways[number].url, timeout=15, trust_env=False) as client:
            headers = {"authorization": f"Bearer {key}"}
            if (body := ASKED[path]) is None:
                return client.get(path, headers=headers)
            return client.post(path, json={"model": "demo", **body}, headers=headers)


async def _seed(folder: Path) -> dict[str, str]:
    settings = load_settings(None, data_dir=folder)
    async with open_database(settings) as database:
        audit, running = AuditLog(database), RunningCalls()
        accounts = await open_accounts(settings, database, audit, signing_key(settings), running)
        owner = await accounts.own.create_admin("eve@example.org", "a long and rare phrase")
        async with open_keys(database, audit, accounts.sessions.known, running) as keys:
            made = {}
            for name in (*ASKED, "away"):
                draft = KeyDraft("rare", 1, requests_per_minute=LIMIT)
                made[name] = (await keys.own.create(Caller(OPERATOR), owner.id, draft)).key
            return made


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    keys = asyncio.run(_seed(folders[0] / "data"))
    shutil.copytree(folders[0] / "data", folders[1] / "data")
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(run_redis())
        if redis is None:
            pytest.skip("there is no Redis to run")
        env = {"GATEWAY_AUTH": "keys", "REDIS_URL": redis.url, "LOG_LEVEL": "DEBUG"}
        one, two = (stack.enter_context(run_gateway(folder, env)) for folder in folders)
        yield Pair((one, two), redis, keys)


@pytest.mark.parametrize("path", ASKED)
def test_a_key_used_too_often_anywhere_is_told_so_everywhere(pair: Pair, path: str) -> None:
    key = pair.keys[path]
    for number in range(LIMIT):
        assert pair.ask(number, path, key).status_code != 429
    for number in (0, 1):
        reply = pair.ask(number, path, key)
        assert reply.status_code == 429
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert holds(reply.json(), SHAPES[path]), reply.text


def test_without_redis_each_gateway_goes_on_counting_by_itself(pair: Pair) -> None:
    key = pair.keys["away"]
    pair.redis.stop()
    try:
        replies = [pair.ask(0, "/api/v1/keys", key).status_code for _ in range(5)]
        assert replies == [200, 200, 429, 429, 429]
        log = pair.gateways[0].log_text()
        assert log.count("redis_away") == 1
    finally:
        pair.redis.start()


def test_no_log_holds_the_address_of_the_redis(pair: Pair) -> None:
    for gateway in pair.gateways:
        assert str(pair.redis.port) not in gateway.log_text().replace(str(gateway.port), "")
