"""One suite for counting in windows of time: in this process, and in a Redis that several processes share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from limits import RateLimitItemPerHour, RateLimitItemPerMinute, RateLimitItemPerSecond

from backend.core.shared import SharedStore, open_shared_store
from backend.features.auth.windows import MemoryWindows, SharedWindows, TimesInMemory, Windows
from tests.fixtures.redis import RedisServer, redis_server

__all__ = ["redis_server"]

TWO, FIVE = RateLimitItemPerMinute(2), RateLimitItemPerMinute(5)


@pytest.fixture(params=["memory", "redis"])
async def windows(request: pytest.FixtureRequest) -> AsyncIterator[Windows]:
    if request.param == "memory":
        yield MemoryWindows()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with open_shared_store(server.url) as store:
        yield SharedWindows(store)
        assert not store.link.is_away


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[SharedStore]:
    async with open_shared_store(redis_server.url) as opened:
        yield opened


async def test_too_many_are_told_how_long_to_wait(windows: Windows) -> None:
    assert [await windows.hit(TWO, "a") for _ in range(2)] == [None, None]
    wait = await windows.hit(TWO, "a")
    assert wait is not None
    assert 55 < wait <= 60


async def test_each_is_counted_alone(windows: Windows) -> None:
    for who in (("a", "1"), ("a", "2"), ("a1",), ("b", "1"), ("é\0", "")):
        assert [await windows.hit(TWO, *who) for _ in range(2)] == [None, None]
        assert await windows.hit(TWO, *who) is not None


async def test_each_rule_is_counted_alone(windows: Windows) -> None:
    assert [await windows.hit(TWO, "a") for _ in range(2)] == [None, None]
    assert await windows.hit(RateLimitItemPerHour(2), "a") is None


async def test_many_at_once_do_not_slip_through_together(windows: Windows) -> None:
    waits = await asyncio.gather(*(windows.hit(FIVE, "a") for _ in range(30)))
    assert waits.count(None) == 5


async def test_whoever_is_forgotten_begins_anew(windows: Windows) -> None:
    for _ in range(3):
        await windows.hit(TWO, "a")
        await windows.hit(TWO, "b")
    await windows.forget(TWO, "a")
    await windows.forget(TWO, "nobody")
    assert await windows.hit(TWO, "a") is None
    assert await windows.hit(TWO, "b") is not None


async def test_a_window_moves_on(windows: Windows) -> None:
    one = RateLimitItemPerSecond(1)
    assert await windows.hit(one, "a") is None
    assert await windows.hit(one, "a") is not None
    await asyncio.sleep(1.1)
    assert await windows.hit(one, "a") is None


async def test_forgetting_and_counting_at_once_breaks_nothing(windows: Windows) -> None:
    async def come_and_go(who: str) -> None:
        for _ in range(20):
            await windows.hit(TWO, who)
            await windows.forget(TWO, who)

    await asyncio.gather(*(come_and_go(f"who {number}") for number in range(20)))


async def test_two_processes_on_one_redis_count_together(redis_server: RedisServer, store: SharedStore) -> None:
    async with open_shared_store(redis_server.url) as other:
        one, two = SharedWindows(store), SharedWindows(other)
        assert [await one.hit(TWO, "a"), await two.hit(TWO, "a")] == [None, None]
        assert await one.hit(TWO, "a") is not None
        assert await two.hit(TWO, "a") is not None


async def test_who_is_counted_stands_nowhere_in_redis(redis_server: RedisServer, store: SharedStore) -> None:
    await SharedWindows(store).hit(TWO, "login", "ada@example.org")
    keys = redis_server.ask("KEYS", "*")
    assert "passerelle:windows" in keys
    assert "ada" not in keys
    assert "-1" not in redis_server.ask("TTL", keys.split("\r\n")[2])


async def test_without_redis_each_process_counts_its_share_and_says_so_once(
    redis_server: RedisServer, store: SharedStore
) -> None:
    windows = SharedWindows(store, processes=2)
    await windows.hit(FIVE, "a")
    with structlog.testing.capture_logs() as logs:
        redis_server.stop()
        async with asyncio.timeout(10):
            waits = [await windows.hit(FIVE, "a") for _ in range(20)]
        assert waits.count(None) == 2
        assert store.link.is_away
        redis_server.start()
        async with asyncio.timeout(10):
            while store.link.is_away:
                await windows.hit(FIVE, "b")
                await asyncio.sleep(0.05)
    assert [entry["event"] for entry in logs] == ["redis_away", "redis_back"]
    assert all("127.0.0.1" not in str(entry) for entry in logs)


async def test_a_redis_that_hangs_costs_one_short_wait_a_second(redis_server: RedisServer, store: SharedStore) -> None:
    windows = SharedWindows(store)
    redis_server.pause()
    try:
        async with asyncio.timeout(4):
            waits = [await windows.hit(TWO, "a") for _ in range(200)]
        assert waits.count(None) == 2
    finally:
        redis_server.resume()


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("min-replicas-to-write", "3")])
async def test_a_redis_that_refuses_to_write_makes_nobody_unlimited(
    redis_server: RedisServer, store: SharedStore, setting: tuple[str, str]
) -> None:
    assert redis_server.ask("CONFIG", "SET", *setting) == "+OK\r\n"
    windows = SharedWindows(store)
    waits = [await windows.hit(TWO, "a") for _ in range(10)]
    assert waits.count(None) == 2


async def test_a_key_of_the_wrong_kind_makes_nobody_unlimited(redis_server: RedisServer, store: SharedStore) -> None:
    windows = SharedWindows(store)
    await windows.hit(TWO, "a")
    key = redis_server.ask("KEYS", "*").split("\r\n")[2]
    redis_server.ask("SET", key, "x")
    waits = [await windows.hit(TWO, "a") for _ in range(10)]
    assert waits.count(None) == 2


async def test_answers_stay_with_their_questions_whatever_is_cancelled(store: SharedStore) -> None:
    await asyncio.gather(*(store.client.set(f"n{number}", number) for number in range(200)))

    async def ask_and_leave(number: int) -> None:
        asked = asyncio.create_task(store.client.get(f"n{number}"))
        await asyncio.sleep(0.0002 * (number % 5))
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked

    for _ in range(5):
        await asyncio.gather(*(ask_and_leave(number) for number in range(200)))
    found: list[Any] = await asyncio.gather(*(store.client.get(f"n{number}") for number in range(200)))
    assert found == [str(number).encode() for number in range(200)]


async def test_memory_forgets_those_who_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("backend.features.auth.windows.time.time", lambda: now[0])
    times = TimesInMemory()
    for number in range(100):
        await times.acquire_entry(f"key {number}", 5, 60)
    await times.acquire_entry("hour", 5, 3_600)
    now[0] += 200
    await times.acquire_entry("new", 5, 60)
    assert set(times._times) == {"hour", "new"}
