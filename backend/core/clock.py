"""Wall-clock timestamps in the form Ollama's clients read, and monotonic nanoseconds for durations."""

import time
from datetime import UTC, datetime

monotonic_ns = time.perf_counter_ns
"""Nanoseconds of a clock that never goes back; only differences mean anything."""


class Timestamps:
    """Formats "now" as RFC 3339 in UTC with six digits and `Z`; the second is formatted once, not per token.

    Six digits because parsers before Python 3.11 choke on nine and some clients demand a fraction.
    """

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def now(self) -> str:
        """Return the current time, for example `2026-11-20T10:00:00.123456Z`."""
        second, micros = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{micros:06d}Z"


def rfc3339(moment: datetime) -> str:
    """Format an aware moment in UTC with six digits and `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_rfc3339(text: object) -> datetime | None:
    """Return the moment a text names, in UTC where it names no zone; None for what is no moment."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
