"""Answers that run end with their caller's access."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection

import pytest

from backend.core.errors import GatewayError, StoreUnavailable
from backend.features.auth.principal import Principal
from backend.features.auth.running import LOOK_SECONDS, RunningCalls
from tests.fakes.providers import settle_loop

ANA, BOB = (Principal(name, user_id=uuid.uuid4()) for name in ("ana", "bob"))


class Store:
    """Says who may call no more, and remembers whom it was asked about."""

    def __init__(self) -> None:
        self.ended: set[Principal] = set()
        self.asked: list[frozenset[Principal]] = []
        self.failure: Exception | None = None

    async def check(self, callers: frozenset[Principal]) -> Collection[Principal]:
        self.asked.append(callers)
        if self.failure is not None:
            raise self.failure
        return self.ended


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def running(store: Store) -> AsyncIterator[RunningCalls]:
    calls = RunningCalls()
    calls.ask(store.check)
    calls.start()
    yield calls
    await calls.aclose()


async def test_all_answers_of_a_caller_end_at_once_and_no_others(running: RunningCalls, store: Store) -> None:
    cuts: list[str] = []
    for name, caller in (("1", ANA), ("2", ANA), ("3", BOB)):
        running.track(caller, lambda _error, name=name: cuts.append(name))  # type: ignore[misc]
    store.ended = {ANA}
    running.look()
    await settle_loop()
    assert cuts == ["1", "2"]
    assert store.asked == [{ANA, BOB}]


async def test_what_is_over_is_forgotten_and_nobody_is_asked_when_nothing_runs(
    running: RunningCalls, store: Store
) -> None:
    cuts: list[GatewayError] = []
    forget = running.track(ANA, cuts.append)
    forget()
    forget()
    store.ended = {ANA}
    running.look()
    await settle_loop()
    assert (store.asked, cuts) == ([], [])


async def test_other_processes_changes_are_seen_within_half_a_minute(running: RunningCalls, store: Store) -> None:
    cuts: list[GatewayError] = []
    running.track(ANA, cuts.append)
    store.ended = {ANA}
    await asyncio.sleep(LOOK_SECONDS + 1)
    assert [error.status for error in cuts] == [401]


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), RuntimeError("a bug")])
async def test_a_store_that_is_away_cuts_nobody_and_is_asked_again(
    running: RunningCalls, store: Store, failure: Exception
) -> None:
    cuts: list[GatewayError] = []
    running.track(ANA, cuts.append)
    store.ended, store.failure = {ANA}, failure
    running.look()
    await settle_loop()
    assert cuts == []
    store.failure = None
    running.look()
    await settle_loop()
    assert len(cuts) == 1
