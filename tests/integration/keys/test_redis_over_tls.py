"""A Redis behind TLS: what is shared goes over it, and only to a server that proves who it is."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from backend.bootstrap.redis import open_redis
from backend.core.config import load_settings
from backend.core.shared import StoreAway
from tests.fakes.fault_certificates import Authority
from tests.fixtures.redis import RedisServer, redis_server

__all__ = ["redis_server"]

HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def terminated(redis: RedisServer, context: ssl.SSLContext) -> AsyncIterator[str]:
    """Yield the address of a TLS port in front of a Redis."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_redis, from_redis = None, None
        try:
            from_redis, to_redis = await asyncio.open_connection(HOST, redis.port)
            await asyncio.gather(pass_on(reader, to_redis), pass_on(from_redis, writer))
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    try:
        yield f"rediss://{HOST}:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Authority], Awaitable[object]]:
    """Return what counts a request at a Redis whose certificate an authority of ours has signed."""

    async def count(address: str, authority: Authority) -> object:
        monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("REDIS_URL", address)
        monkeypatch.setenv("GATEWAY_TLS__CA_FILE", str(authority.certificate))
        async with open_redis(load_settings(env_file=None)) as shared:
            assert shared.store is not None
            return await shared.store.link.ask(lambda: shared.store.client.incr("passerelle:test"))

    return count


async def test_what_is_shared_goes_over_tls(
    redis_server: RedisServer, tmp_path: Path, trusting: Callable[[str, Authority], Awaitable[object]]
) -> None:
    authority = Authority(tmp_path)
    async with asyncio.timeout(20), terminated(redis_server, authority.issue(HOST)) as address:
        assert [await trusting(address, authority) for _ in range(2)] == [1, 2]
    assert redis_server.ask("GET", "passerelle:test") == "$1\r\n2\r\n"


@pytest.mark.parametrize("flaw", ["nobody vouches for it", "another host's"])
async def test_a_redis_that_cannot_prove_who_it_is_counts_as_away(
    flaw: str, redis_server: RedisServer, tmp_path: Path, trusting: Callable[[str, Authority], Awaitable[object]]
) -> None:
    authority = Authority(tmp_path)
    flawed = authority.issue("127.0.0.2") if flaw == "another host's" else authority.issue(HOST, trusted=False)
    async with asyncio.timeout(20), terminated(redis_server, flawed) as address:
        with pytest.raises(StoreAway):
            await trusting(address, authority)
    assert redis_server.ask("GET", "passerelle:test") == "$-1\r\n", "nothing was said to it"
