"""Which hosted models look loaded."""

from datetime import UTC, datetime, timedelta

import pytest

from backend.features.catalog.recent import DEFAULT_SECONDS, RecentModels
from tests.fakes.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def recent(clock: ManualClock) -> RecentModels:
    return RecentModels(clock)


@pytest.mark.parametrize(("keep_alive", "seconds"), [(None, DEFAULT_SECONDS), (1.5, 1.5), (3600.0, 3600.0)])
def test_a_model_counts_as_loaded_until_its_time_is_over(
    recent: RecentModels, clock: ManualClock, keep_alive: float | None, seconds: float
) -> None:
    recent.touch("m", keep_alive)
    clock.advance(seconds - 0.1)
    assert list(recent.loaded()) == ["m"]
    clock.advance(0.2)
    assert recent.loaded() == {}


def test_zero_unloads_and_may_be_said_of_what_is_not_loaded(recent: RecentModels) -> None:
    recent.touch("m", None)
    recent.touch("m", 0)
    recent.touch("never", 0)
    assert recent.loaded() == {}


@pytest.mark.parametrize("keep_alive", [-1.0, 10.0**10])
def test_for_ever_is_a_date_that_can_be_written(recent: RecentModels, keep_alive: float) -> None:
    recent.touch("m", keep_alive)
    until = recent.loaded()["m"]
    assert timedelta(days=290 * 365) < until - datetime.now(UTC) < timedelta(days=294 * 366)


def test_the_longest_comes_first_and_another_use_counts_anew(recent: RecentModels, clock: ManualClock) -> None:
    recent.touch("short", 10)
    recent.touch("long", 100)
    assert list(recent.loaded()) == ["long", "short"]
    clock.advance(5)
    recent.touch("short", 200)
    assert list(recent.loaded()) == ["short", "long"]


def test_memory_is_bounded_but_known_models_are_still_touched(recent: RecentModels) -> None:
    for number in range(1_500):
        recent.touch(f"m{number}", 100)
    recent.touch("m0", 500)
    loaded = recent.loaded()
    assert len(loaded) == 1_000
    assert next(iter(loaded)) == "m0"
