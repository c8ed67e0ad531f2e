"""The queue before the places: in order, bounded, and never losing a place."""

import asyncio
import random

import pytest

from backend.core.errors import Overloaded
from backend.features.generation.admission import BUSY, Admission, AdmissionLimits
from tests.fakes.providers import settle_loop


async def entered(admission: Admission, count: int) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(admission.enter()) for _ in range(count)]
    await settle_loop()
    return tasks


async def assert_all_free(admission: Admission, places: int) -> None:
    """Every place can be taken at once, and not one more."""
    for _ in range(places):
        await asyncio.wait_for(admission.enter(), 0.5)
    extra = asyncio.create_task(admission.enter())
    await settle_loop()
    assert not extra.done()
    extra.cancel()
    await asyncio.gather(extra, return_exceptions=True)
    for _ in range(places):
        admission.leave()


async def test_places_are_given_in_the_order_of_arrival() -> None:
    admission = Admission(AdmissionLimits(1, 10))
    await admission.enter()
    order: list[int] = []

    async def visit(number: int) -> None:
        await admission.enter()
        order.append(number)

    tasks = [asyncio.create_task(visit(number)) for number in range(5)]
    await settle_loop()
    for _ in range(5):
        admission.leave()
        await settle_loop()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_a_newcomer_does_not_overtake_the_queue() -> None:
    admission = Admission(AdmissionLimits(1, 10))
    await admission.enter()
    [waiting] = await entered(admission, 1)
    admission.leave()
    newcomer = asyncio.create_task(admission.enter())
    await settle_loop()
    assert waiting.done()
    assert not newcomer.done()
    newcomer.cancel()


async def test_a_full_queue_refuses_at_once_in_the_words_clients_match() -> None:
    admission = Admission(AdmissionLimits(1, 2))
    await admission.enter()
    waiting = await entered(admission, 2)
    with pytest.raises(Overloaded) as caught:
        await admission.enter()
    assert caught.value.message == BUSY
    assert BUSY == "server busy, please try again.  maximum pending requests exceeded"
    assert caught.value.retry_after is not None
    for task in waiting:
        task.cancel()


async def test_no_queue_means_places_only() -> None:
    admission = Admission(AdmissionLimits(1, 0))
    await admission.enter()
    with pytest.raises(Overloaded):
        await admission.enter()
    admission.leave()
    await admission.enter()


async def test_waiting_too_long_is_refused_and_leaves_the_queue() -> None:
    admission = Admission(AdmissionLimits(1, 1, 0.02))
    await admission.enter()
    with pytest.raises(Overloaded):
        await admission.enter()
    [waiting] = await entered(admission, 1)  # there is room in the queue again
    admission.leave()
    await asyncio.wait_for(waiting, 0.5)


async def test_who_is_cancelled_in_the_queue_leaves_no_trace() -> None:
    admission = Admission(AdmissionLimits(1, 5))
    await admission.enter()
    first, second = await entered(admission, 2)
    first.cancel()
    await settle_loop()
    assert first.cancelled()
    admission.leave()
    await asyncio.wait_for(second, 0.5)
    admission.leave()
    await assert_all_free(admission, 1)


async def test_a_place_given_in_the_moment_of_cancellation_goes_to_the_next() -> None:
    admission = Admission(AdmissionLimits(1, 5))
    await admission.enter()
    first, second = await entered(admission, 2)
    admission.leave()
    first.cancel()
    await settle_loop()
    assert first.cancelled()
    assert second.done()
    admission.leave()
    await assert_all_free(admission, 1)


async def test_a_place_given_in_the_moment_of_the_timeout_is_not_lost() -> None:
    for delay in (0.0099, 0.01, 0.0101):
        admission = Admission(AdmissionLimits(1, 1, 0.01))
        await admission.enter()
        asyncio.get_running_loop().call_later(delay, admission.leave)
        try:
            await admission.enter()
        except Overloaded:
            await asyncio.sleep(0.002)
        else:
            admission.leave()
        await assert_all_free(admission, 1)


@pytest.mark.parametrize("seed", range(8))
async def test_no_storm_of_arrivals_cancellations_and_timeouts_leaks_a_place(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (repeatable, not secret)
    places = rng.randint(1, 4)
    admission = Admission(AdmissionLimits(places, rng.randint(1, 12), 0.01))
    inside = 0

    async def visit() -> None:
        nonlocal inside
        await admission.enter()
        inside += 1
        try:
            assert inside <= places
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.004)))
        finally:
            inside -= 1
            admission.leave()

    running: list[asyncio.Task[None]] = []
    for _ in range(300):
        running.append(asyncio.create_task(visit()))
        if rng.random() < 0.5:
            rng.choice(running).cancel()
        if rng.random() < 0.3:
            await asyncio.sleep(rng.choice((0, 0, 0.001)))
    results = await asyncio.gather(*running, return_exceptions=True)
    unexpected = [r for r in results if r is not None and not isinstance(r, (Overloaded, asyncio.CancelledError))]
    assert unexpected == []
    assert inside == 0
    for _ in range(places):
        await asyncio.wait_for(admission.enter(), 0.5)
    with pytest.raises(Overloaded):
        await admission.enter()
