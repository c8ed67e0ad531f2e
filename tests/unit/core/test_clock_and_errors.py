"""Timestamps clients can read, and errors that are what their documentation says."""

import inspect
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

import backend.core.errors
import backend.llm.errors
from backend.core.clock import Timestamps, monotonic_ns, read_rfc3339, rfc3339
from backend.core.errors import ClientGone, GatewayError
from backend.llm.errors import ProviderError, ProviderRejected

SHAPE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_now_is_utc_with_six_digits() -> None:
    timestamps = Timestamps()
    for _ in range(50):
        text = timestamps.now()
        assert SHAPE.fullmatch(text)
        assert abs(datetime.fromisoformat(text) - datetime.now(UTC)) < timedelta(seconds=1)


def test_time_in_text_never_goes_back_over_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1_999_999_999_999_999_999, 2_000_000_000_000_000_000, 2_000_000_000_000_001_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    timestamps = Timestamps()
    assert [timestamps.now() for _ in range(3)] == [
        "2033-05-18T03:33:19.999999Z",
        "2033-05-18T03:33:20.000000Z",
        "2033-05-18T03:33:20.000001Z",
    ]


def test_moments_of_other_zones_are_written_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(moment) == "2025-12-31T23:30:00.000000Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-08-01T12:00:00.5+02:00", datetime(2026, 8, 1, 10, 0, 0, 500_000, UTC)),
        ("2026-08-01T12:00:00Z", datetime(2026, 8, 1, 12, tzinfo=UTC)),
        ("2026-08-01T12:00:00", datetime(2026, 8, 1, 12, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_a_moment_is_read_in_any_zone_and_nonsense_is_none(text: object, moment: datetime | None) -> None:
    assert read_rfc3339(text) == moment


def test_the_clock_for_durations_does_not_go_back() -> None:
    readings = [monotonic_ns() for _ in range(100)]
    assert readings == sorted(readings)


def subclasses(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


ERRORS = sorted({error for error in subclasses(GatewayError) if error.__module__.startswith("backend.")}, key=str)
TREES = f"{backend.core.errors.__doc__}\n{backend.llm.errors.__doc__}"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_its_row_and_the_status_of_its_row(error: type[GatewayError]) -> None:
    rows = set(re.findall(rf"\b{error.__name__} (\d{{3}})\b", TREES))
    assert rows == {str(error.status)}


def test_the_rows_name_no_error_that_is_gone() -> None:
    named = set(re.findall(r"\b([A-Z][A-Za-z]+) [1-5]\d\d\b", TREES))
    assert named == {error.__name__ for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_carries_its_sentence_and_is_explained(error: type[GatewayError]) -> None:
    assert inspect.getdoc(error)
    made = error() if error is ClientGone else error("one sentence")  # type: ignore[call-arg]
    assert made.message == str(made)
    assert made.retry_after is None


def test_what_may_be_repeated_is_never_a_refusal_of_the_request() -> None:
    for error in subclasses(ProviderError):
        if issubclass(error, ProviderError) and error.retriable:
            assert error.status >= 429


def test_a_refusal_names_the_fields() -> None:
    error = ProviderRejected("no", code="3001", fields=frozenset({"top_k"}))
    assert (error.code, error.fields, error.status) == ("3001", {"top_k"}, 400)
