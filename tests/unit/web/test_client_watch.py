"""A client that leaves, or stops reading, ends the work done for it; nothing else does."""

import asyncio

import pytest
from starlette.types import Message

from backend.core.errors import ClientGone
from backend.web.client import ClientWatch
from tests.fakes.providers import hang, settle_loop
from tests.unit.web.scripted import Client

BODY: Message = {"type": "http.response.body", "body": b"x"}


async def guarded(watch: ClientWatch) -> None:
    with watch.guard():
        await hang()


async def test_a_client_that_leaves_ends_the_guarded_work() -> None:
    client = Client()
    watch = ClientWatch(client.receive, 1).start()
    task = asyncio.create_task(guarded(watch))
    await settle_loop()
    client.leave()
    with pytest.raises(ClientGone):
        await task
    assert watch.gone.is_set()
    assert task.cancelling() == 0
    watch.stop()


async def test_a_client_that_left_before_is_noticed_at_once() -> None:
    client = Client()
    client.leave()
    watch = ClientWatch(client.receive, 1).start()
    await settle_loop()
    with pytest.raises(ClientGone):
        await guarded(watch)
    watch.stop()


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    watch = ClientWatch(Client().receive, 1).start()
    task = asyncio.create_task(guarded(watch))
    await settle_loop()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    watch.stop()


async def test_a_cancel_from_outside_counts_though_the_client_leaves_in_the_same_moment() -> None:
    client = Client()
    watch = ClientWatch(client.receive, 1).start()
    task = asyncio.create_task(guarded(watch))
    await settle_loop()
    client.leave()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, ClientGone)):
        await task
    watch.stop()


async def test_work_outside_the_guard_is_left_alone() -> None:
    client = Client()
    watch = ClientWatch(client.receive, 1).start()
    with watch.guard():
        await asyncio.sleep(0)
    client.leave()
    await asyncio.sleep(0.01)
    watch.stop()


async def test_an_error_inside_the_guard_is_passed_on() -> None:
    watch = ClientWatch(Client().receive, 1).start()
    with pytest.raises(ValueError, match="x"), watch.guard():
        raise ValueError("x")
    watch.stop()


async def write(client: Client, watch: ClientWatch, times: int, pause: float = 0.0) -> None:
    with watch.guard():
        for _ in range(times):
            watch.sending()
            await client.send(BODY)
            watch.sent()
            await asyncio.sleep(pause)


async def test_a_client_that_stops_reading_is_gone() -> None:
    client = Client()
    client.write = lambda _message: hang()
    watch = ClientWatch(client.receive, 0.03).start()
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(ClientGone):
        await write(client, watch, 1)
    assert 0.025 <= loop.time() - started < 0.5
    watch.stop()


async def test_a_client_that_reads_slowly_but_steadily_is_served() -> None:
    client = Client()
    client.write = lambda _message: asyncio.sleep(0.01)
    watch = ClientWatch(client.receive, 0.05).start()
    await write(client, watch, 12)
    assert len(client.sent) == 12
    watch.stop()


async def test_pauses_between_writes_are_not_the_clients() -> None:
    client = Client()
    watch = ClientWatch(client.receive, 0.02).start()
    await write(client, watch, 3, pause=0.05)
    assert len(client.sent) == 3
    watch.stop()


async def test_stopping_ends_every_task_and_timer() -> None:
    client = Client()
    watch = ClientWatch(client.receive, 0.01).start()
    watch.sending()
    watch.stop()
    client.leave()
    await asyncio.sleep(0.03)
    assert not watch.gone.is_set()
    ClientWatch(client.receive, 1).stop()
