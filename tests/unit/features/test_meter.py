"""Counts and durations that clients divide by."""

import asyncio
from collections.abc import Callable
from dataclasses import astuple

import pytest

from backend.core.clock import monotonic_ns
from backend.features.generation.meter import Meter
from backend.llm.errors import ProviderUnavailable
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, Timings, Usage


def meter(characters: int = 40, *, ago_ns: int = 0) -> Meter:
    return Meter(monotonic_ns() - ago_ns, lambda: characters)


def passed(subject: Meter) -> None:
    subject.passed(b"")


def finish(subject: Meter, done: Finished) -> Finished:
    last = subject.observe([TextDelta("x"), done])[-1]
    assert isinstance(last, Finished)
    return last


@pytest.mark.parametrize(
    "told",
    [
        Timings(),
        Timings(0, 0, 0, 0),
        Timings(-5, -5, -5, -5),
        Timings(1, 2, 3, 6),
        Timings(10**12, 10**12, 10**12, 1),
        Timings(prompt_ns=5),
        Timings(total_ns=1),
    ],
)
@pytest.mark.parametrize("prepare", [lambda _m: None, Meter.sent, passed, lambda m: (passed(m), m.sent())])
def test_no_duration_is_zero_and_the_total_holds_its_parts(told: Timings, prepare: Callable[[Meter], object]) -> None:
    subject = meter()
    prepare(subject)
    load, prompt, completion, total = astuple(finish(subject, Finished("stop", Usage(1, 1), told)).timings)
    assert min(load, prompt, completion) >= 1
    assert total >= load + prompt + completion


def test_what_the_upstream_measured_counts() -> None:
    assert finish(meter(), Finished("length", Usage(9, 8), Timings(5, 6, 7, 30))) == Finished(
        "length", Usage(9, 8), Timings(5, 6, 7, 30)
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Usage(), Usage(10, 1)),
        (Usage(0, 0), Usage(10, 1)),
        (Usage(-3, -4), Usage(1, 1)),
        (Usage(5, None), Usage(5, 1)),
        (Usage(None, 9), Usage(10, 9)),
    ],
)
def test_counts_nobody_told_are_estimated_and_never_zero(told: Usage, expected: Usage) -> None:
    subject = meter(40)
    assert finish(subject, Finished("stop", told)).usage == expected
    assert subject.settle() == expected


def test_an_empty_prompt_is_one_token() -> None:
    assert finish(meter(0), Finished("stop")).usage == Usage(1, 1)


def test_events_before_the_end_pass_untouched() -> None:
    subject = meter()
    batch: list[ChatEvent] = [Started(), TextDelta("a")]
    assert subject.observe(batch) is batch


def test_a_cut_answer_is_charged_by_its_pieces() -> None:
    subject = meter(400)
    subject.observe([TextDelta("a"), TextDelta("b")])
    subject.observe([TextDelta("c")])
    assert subject.settle() == Usage(100, 3)


def test_an_answer_of_which_nothing_came_costs_nothing() -> None:
    assert meter().settle() == Usage()


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ProviderUnavailable("gone")])
def test_what_came_of_an_answer_that_nobody_got_is_charged(error: BaseException) -> None:
    subject = meter(400)
    subject.sent()
    for _ in range(5_000):
        subject.observe([TextDelta("a")])
    assert subject.abandoned(error) == Usage(100, 5_000)


def test_the_prompt_is_charged_where_nothing_came_and_the_caller_left() -> None:
    subject = meter(400)
    assert subject.abandoned(asyncio.CancelledError()) == Usage(0, 0)
    subject.sent()
    assert subject.abandoned(asyncio.CancelledError()) == Usage(100, 0)
    assert subject.abandoned(ProviderUnavailable("gone")) == Usage(0, 0)


def test_the_prompt_is_only_measured_when_nobody_told_its_size() -> None:
    def forbidden() -> int:
        raise AssertionError

    subject = Meter(monotonic_ns(), forbidden)
    assert finish(subject, Finished("stop", Usage(3, 4))).usage == Usage(3, 4)


def test_the_first_token_is_timed_once() -> None:
    subject = meter(ago_ns=2_000_000_000)
    assert subject.first_token_seconds is None
    passed(subject)
    first = subject.first_token_seconds
    passed(subject)
    assert first is not None
    assert 2 <= first < 3
    assert subject.first_token_seconds == first
    assert subject.seconds >= first
