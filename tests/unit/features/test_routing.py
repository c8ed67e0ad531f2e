"""Which backend is asked, and whether a failed try may be repeated."""

import asyncio

import pytest

from backend.features.generation import routing
from backend.features.generation.routing import RetryBudget, choose
from backend.llm.errors import (
    ProviderBadGateway,
    ProviderDisconnected,
    ProviderError,
    ProviderFailed,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    ProviderUnreachable,
)
from tests.fakes.clock import ManualClock
from tests.fakes.providers import ScriptedProvider, backend_of, model_of, settle_loop


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "_PAUSES", (0.0, 0.001))


def backends(count: int) -> list[routing.Candidate]:
    return list(model_of(*(backend_of(ScriptedProvider(), f"b{i}", failures=1) for i in range(count))).candidates)


def test_the_least_busy_backend_is_chosen() -> None:
    model = model_of(*(backend_of(ScriptedProvider(), name) for name in "abc"))
    for candidate, load in zip(model.candidates, (2, 0, 1), strict=True):
        candidate.backend.in_flight = load
    assert {choose(model).backend.name for _ in range(20)} == {"b"}


def test_equally_busy_backends_share_the_load() -> None:
    model = model_of(*(backend_of(ScriptedProvider(), name) for name in "abc"))
    assert {choose(model).backend.name for _ in range(200)} == {"a", "b", "c"}


def test_a_backend_left_alone_is_passed_over_however_idle() -> None:
    model = model_of(*(backend_of(ScriptedProvider(), name, failures=1) for name in "ab"))
    model.candidates[0].backend.breaker.acquire().fail()
    model.candidates[1].backend.in_flight = 50
    assert choose(model).backend.name == "b"


def test_with_every_circuit_open_one_is_still_named_so_that_its_error_is_told() -> None:
    model = model_of(backend_of(ScriptedProvider(), "a", failures=1))
    model.candidates[0].backend.breaker.acquire().fail()
    assert choose(model).backend.name == "a"


def test_the_one_that_just_failed_is_taken_again_only_when_alone() -> None:
    two = model_of(*(backend_of(ScriptedProvider(), name) for name in "ab"))
    two.candidates[1].backend.in_flight = 9
    assert {choose(two, without=two.candidates[0]).backend.name for _ in range(20)} == {"b"}
    one = model_of(backend_of(ScriptedProvider(), "a"))
    assert choose(one, without=one.candidates[0]).backend.name == "a"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ProviderUnreachable("x"), True),
        (ProviderUnavailable("x"), True),
        (ProviderBadGateway("x"), True),
        (ProviderRateLimited("x"), True),
        (ProviderRateLimited("x", retry_after=0.001), True),
        (ProviderRateLimited("x", retry_after=5.1), False),
        (ProviderUnavailable("x", retry_after=60), False),
        (ProviderTimeout("x"), False),
        (ProviderDisconnected("x"), False),
        (ProviderFailed("x"), False),
        (ProviderProtocolError("x"), False),
        (ProviderRejected("x"), False),
        (ProviderError("x"), False),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, Exception) else str(value),
)
async def test_only_what_cost_nothing_is_tried_again(error: ProviderError, again: bool) -> None:
    [only] = backends(1)
    assert await RetryBudget().wait(error, only, [only]) is again


async def test_another_backend_is_tried_without_a_pause() -> None:
    first, second = backends(2)
    error = ProviderRateLimited("x", retry_after=4.0)
    assert await asyncio.wait_for(RetryBudget().wait(error, first, [first, second]), 0.5)


async def test_a_pause_the_upstream_asked_for_is_kept_when_it_is_the_only_one() -> None:
    [only] = backends(1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await RetryBudget().wait(ProviderRateLimited("x", retry_after=0.05), only, [only])
    assert loop.time() - started >= 0.049


@pytest.mark.parametrize(("in_flight", "allowed"), [(0, 3), (10, 3), (50, 10)])
async def test_few_requests_are_tried_again_at_the_same_time(in_flight: int, allowed: int) -> None:
    [only] = backends(1)
    only.backend.in_flight = in_flight
    budget = RetryBudget()
    error = ProviderUnavailable("x", retry_after=0.05)
    waits = [asyncio.create_task(budget.wait(error, only, [only])) for _ in range(allowed + 4)]
    assert sum(await asyncio.gather(*waits)) == allowed


async def test_a_caller_who_leaves_during_the_pause_frees_the_budget() -> None:
    [only] = backends(1)
    budget = RetryBudget()
    error = ProviderUnavailable("x", retry_after=4.0)
    waits = [asyncio.create_task(budget.wait(error, only, [only])) for _ in range(3)]
    await settle_loop()
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    assert await budget.wait(ProviderUnreachable("x"), only, [only])


def test_a_half_open_backend_is_chosen_once() -> None:
    clock = ManualClock()
    model = model_of(backend_of(ScriptedProvider(), "a", failures=1, clock=clock), backend_of(ScriptedProvider(), "b"))
    trying, busy = (candidate.backend for candidate in model.candidates)
    trying.breaker.acquire().fail()
    clock.advance(11)
    busy.in_flight = 5
    assert choose(model).backend is trying
    trying.breaker.acquire()
    assert choose(model).backend is busy
