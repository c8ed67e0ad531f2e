"""No wait for an upstream is endless, and who was cancelled from outside stays cancelled."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from backend.llm.errors import ProviderTimeout
from backend.providers.watchdog import Timeouts, Watchdog

Read = Callable[[], Awaitable[bytes]]


def trickle(pause: float) -> Read:
    async def read() -> bytes:
        await asyncio.sleep(pause)
        return b"."

    return read


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


def watch(first_byte: float = 9, idle: float = 9, total: float = 9) -> Watchdog:
    return Watchdog("lab", Timeouts(1, first_byte, idle, total))


async def read_on(watchdog: Watchdog, read: Read) -> None:
    while True:
        await watchdog.wait(read)


async def test_what_comes_in_time_is_returned() -> None:
    watchdog = watch()
    assert await watchdog.wait(trickle(0)) == b"."
    watchdog.close()


async def test_the_first_byte_limit_runs_on_though_bytes_trickle_in() -> None:
    watchdog = watch(first_byte=0.05)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(ProviderTimeout, match=r"did not begin to answer within 0\.05 s"):
        await read_on(watchdog, trickle(0.005))
    assert 0.045 <= loop.time() - started < 0.3


async def test_silence_before_the_first_byte_is_a_timeout() -> None:
    with pytest.raises(ProviderTimeout, match="begin to answer"):
        await watch(first_byte=0.02).wait(never)


async def test_the_idle_limit_counts_each_wait_by_itself() -> None:
    watchdog = watch(first_byte=0.03, idle=0.05)
    watchdog.started()
    for _ in range(12):
        await watchdog.wait(trickle(0.01))
    with pytest.raises(ProviderTimeout, match=r"stalled for more than 0\.05 s"):
        await watchdog.wait(never)


async def test_an_idle_limit_below_the_first_byte_limit_is_kept() -> None:
    watchdog = watch(first_byte=1, idle=0.05)
    watchdog.started()
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(ProviderTimeout, match="stalled"):
        await watchdog.wait(never)
    assert loop.time() - started < 0.5


async def test_time_the_caller_takes_between_reads_is_not_the_upstreams() -> None:
    watchdog = watch(first_byte=0.02, idle=0.03)
    watchdog.started()
    for _ in range(3):
        await watchdog.wait(trickle(0))
        await asyncio.sleep(0.06)
    watchdog.close()


async def test_the_total_bounds_an_answer_that_never_pauses() -> None:
    watchdog = watch(total=0.05)
    watchdog.started()
    with pytest.raises(ProviderTimeout, match=r"took more than 0\.05 s"):
        await read_on(watchdog, trickle(0.004))


async def test_a_total_that_ran_out_between_reads_is_told_at_the_next() -> None:
    watchdog = watch(total=0.02)
    watchdog.started()
    await watchdog.wait(trickle(0))
    await asyncio.sleep(0.05)
    with pytest.raises(ProviderTimeout):
        await watchdog.wait(trickle(0))


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    watchdog = watch()
    task = asyncio.create_task(watchdog.wait(never))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    watchdog.close()


async def test_a_cancel_in_the_moment_of_the_timeout_stays_a_cancel() -> None:
    watchdog = watch(first_byte=0.02)
    task = asyncio.create_task(watchdog.wait(never))
    asyncio.get_running_loop().call_later(0.02, task.cancel)  # both are due in the same turn of the loop
    with pytest.raises((asyncio.CancelledError, ProviderTimeout)):
        await task
    assert task.cancelled()


async def test_the_task_can_be_used_after_a_timeout() -> None:
    with pytest.raises(ProviderTimeout):
        await watch(first_byte=0.01).wait(never)
    await asyncio.sleep(0.001)
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_closed_watchdog_is_silent() -> None:
    watchdog = watch(first_byte=0.01)
    watchdog.close()
    assert await watchdog.wait(trickle(0.03)) == b"."


async def test_progress_in_the_middle_of_a_wait_puts_the_idle_limit_off() -> None:
    watchdog = watch(first_byte=0.05, idle=0.05)

    async def upload() -> bytes:
        for _ in range(10):
            await asyncio.sleep(0.01)
            watchdog.progressed()
        await asyncio.Event().wait()
        return b""

    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(ProviderTimeout, match=r"stalled for more than 0\.05 s"):
        await watchdog.wait(upload)
    assert loop.time() - started >= 0.1
    watchdog.close()
