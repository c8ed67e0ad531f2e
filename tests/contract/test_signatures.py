"""One suite for remembering signatures: in this process, and in a Redis that several processes share."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from backend.core.errors import NotAuthenticated
from backend.core.shared import SharedStore, open_shared_store
from backend.features.auth import signatures as module
from backend.features.auth.signatures import MemorySignatures, SharedSignatures, Signatures
from tests.fixtures.redis import RedisServer, redis_server

__all__ = ["redis_server"]

NOW = 1_790_000_000.0


@pytest.fixture(params=["memory", "redis"])
async def signatures(request: pytest.FixtureRequest) -> AsyncIterator[Signatures]:
    if request.param == "memory":
        yield MemorySignatures(600)
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with open_shared_store(server.url) as store:
        yield SharedSignatures(store, 600)
        assert not store.link.is_away


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[SharedStore]:
    async with open_shared_store(redis_server.url) as opened:
        yield opened


async def test_a_signature_is_known_by_its_first_use(signatures: Signatures) -> None:
    for later in (0, 5, 11, 300):
        assert await signatures.first_use("ana", b"s", NOW + later) == NOW
    assert await signatures.first_use("ana", b"t", NOW + 5) == NOW + 5
    assert await signatures.first_use("bob", b"s", NOW + 6) == NOW + 6


async def test_of_many_at_once_all_have_one_first_use(signatures: Signatures) -> None:
    uses = await asyncio.gather(*(signatures.first_use("ana", b"s", NOW + number) for number in range(20)))
    assert len(set(uses)) == 1


async def test_one_caller_fills_only_their_own_memory(signatures: Signatures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    for number in range(2):
        await signatures.first_use("ana", b"%d" % number, NOW)
    with pytest.raises(NotAuthenticated, match="too many"):
        await signatures.first_use("ana", b"2", NOW)
    await signatures.first_use("bob", b"2", NOW)
    assert await signatures.first_use("ana", b"2", NOW + 601) == NOW + 601


async def test_what_one_process_saw_is_not_new_to_another(redis_server: RedisServer, store: SharedStore) -> None:
    async with open_shared_store(redis_server.url) as other:
        await SharedSignatures(store, 600).first_use("ana", b"s", NOW)
        assert await SharedSignatures(other, 600).first_use("ana", b"s", NOW + 20) == NOW


async def test_without_redis_each_process_still_knows_what_it_saw(
    redis_server: RedisServer, store: SharedStore
) -> None:
    signatures = SharedSignatures(store, 600)
    await signatures.first_use("ana", b"before", NOW)
    redis_server.stop()
    assert await signatures.first_use("ana", b"before", NOW + 20) == NOW
    assert await signatures.first_use("ana", b"during", NOW + 20) == NOW + 20
    assert await signatures.first_use("ana", b"during", NOW + 40) == NOW + 20


async def test_what_others_wrote_to_redis_makes_a_signature_old_at_most(
    redis_server: RedisServer, store: SharedStore
) -> None:
    await SharedSignatures(store, 600).first_use("ana", b"s", NOW)
    key = redis_server.ask("KEYS", "passerelle:signed:*").split("\r\n")[2]
    assert "-1" not in redis_server.ask("TTL", key)
    redis_server.ask("SET", key, "soon")
    assert await SharedSignatures(store, 600).first_use("ana", b"s", NOW) < NOW - 10_000
