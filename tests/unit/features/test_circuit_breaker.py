"""A failing backend is left alone, then tried by one request."""

import pytest

from backend.features.catalog.backends import CircuitBreaker, Permit
from backend.llm.errors import ProviderUnavailable
from tests.fakes.clock import ManualClock

FAILURES, OPEN_SECONDS = 3, 10.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker("lab", FAILURES, OPEN_SECONDS, clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.acquire().fail()


def probe(breaker: CircuitBreaker, clock: ManualClock, seconds: float) -> Permit:
    clock.advance(seconds)
    assert breaker.state == "half-open"
    return breaker.acquire()


def test_it_stays_closed_below_the_limit(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURES - 1)
    assert breaker.state == "closed"
    assert breaker.admits


def test_it_opens_at_the_limit_and_says_how_long(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, FAILURES)
    clock.advance(4)
    assert breaker.state == "open"
    assert not breaker.admits
    with pytest.raises(ProviderUnavailable, match="'lab'") as caught:
        breaker.acquire()
    assert caught.value.retry_after == 6


def test_a_success_in_between_starts_the_count_again(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURES - 1)
    breaker.acquire().succeed()
    fail(breaker, FAILURES - 1)
    assert breaker.state == "closed"


def test_half_open_lets_exactly_one_through(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, FAILURES)
    probe(breaker, clock, OPEN_SECONDS)
    assert not breaker.admits
    with pytest.raises(ProviderUnavailable):
        breaker.acquire()


def test_a_good_try_closes_it(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, FAILURES)
    probe(breaker, clock, OPEN_SECONDS).succeed()
    assert breaker.state == "closed"
    fail(breaker, FAILURES - 1)
    assert breaker.state == "closed"


def test_each_failed_try_doubles_the_pause_up_to_ten_times(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, FAILURES)
    pause = OPEN_SECONDS
    for expected in (20, 40, 80, 100, 100):
        probe(breaker, clock, pause).fail()
        clock.advance(expected - 0.5)
        assert breaker.state == "open"
        clock.advance(0.5)
        assert breaker.state == "half-open"
        pause = 0.0


def test_a_success_forgets_the_doubling(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, FAILURES)
    probe(breaker, clock, OPEN_SECONDS).fail()
    probe(breaker, clock, 2 * OPEN_SECONDS).succeed()
    fail(breaker, FAILURES)
    clock.advance(OPEN_SECONDS)
    assert breaker.state == "half-open"


def test_an_abandoned_try_lets_the_next_one_through(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, FAILURES)
    probe(breaker, clock, OPEN_SECONDS).abandon()
    assert breaker.state == "half-open"
    breaker.acquire().succeed()
    assert breaker.state == "closed"


def test_a_permit_counts_once(breaker: CircuitBreaker) -> None:
    permit = breaker.acquire()
    for _ in range(FAILURES):
        permit.fail()
    permit.succeed()
    permit.abandon()
    assert breaker.state == "closed"
    fail(breaker, FAILURES - 1)
    assert breaker.state == "open"


def test_a_permit_that_was_abandoned_says_nothing(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURES * 2):
        breaker.acquire().abandon()
    assert breaker.state == "closed"


def test_late_failures_of_requests_sent_before_do_not_lengthen_the_pause(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    early = [breaker.acquire() for _ in range(FAILURES + 2)]
    for permit in early[:FAILURES]:
        permit.fail()
    clock.advance(OPEN_SECONDS - 1)
    for permit in early[FAILURES:]:
        permit.fail()
    clock.advance(1)
    assert breaker.state == "half-open"


def test_a_late_failure_of_an_earlier_request_leaves_the_one_try_alone(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    late = breaker.acquire()
    fail(breaker, FAILURES)
    probe(breaker, clock, OPEN_SECONDS)
    late.fail()
    assert not breaker.admits
