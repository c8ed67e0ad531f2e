"""Measures one answer and fills in what its upstream did not tell."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from backend.core.clock import monotonic_ns
from backend.features.generation.estimate import CHARACTERS_PER_TOKEN
from backend.llm.events import ChatEvent, Finished, Timings, Usage


class Meter:
    """The clock and the counts of one answer; asked once per network read, so it does almost nothing there.

    Args:
        estimate_prompt: characters of the prompt, only asked when the upstream reported no usage.
    """

    def __init__(self, started_ns: int, estimate_prompt: Callable[[], int]) -> None:
        self._estimate_prompt = estimate_prompt
        self._started_ns = started_ns
        self._sent_ns = started_ns
        self._is_sent = False
        self._first_ns = 0
        self._pieces = 0
        self.usage = Usage()
        """Counts of the finished answer, or of what came until now."""

    @property
    def first_token_seconds(self) -> float | None:
        """Seconds to the first event, or None when there was none."""
        return (self._first_ns - self._started_ns) / 1e9 if self._first_ns else None

    @property
    def seconds(self) -> float:
        """Seconds since the request came in."""
        return (monotonic_ns() - self._started_ns) / 1e9

    def sent(self) -> None:
        """Note that the request goes to an upstream now."""
        self._sent_ns = monotonic_ns()
        self._is_sent = True

    def passed(self, lines: bytes) -> None:
        """Count the lines of an answer that is let through: one for a token, unless its last line tells better."""
        self._pieces += lines.count(b"\n")
        if not self._first_ns:
            self._first_ns = monotonic_ns()

    def observe(self, events: Sequence[ChatEvent]) -> Sequence[ChatEvent]:
        """Count events and return them, the last one with counts and times filled in."""
        self._pieces += len(events)
        if not self._first_ns:
            self._first_ns = monotonic_ns()
        last = events[-1]
        if type(last) is not Finished:
            return events
        self._pieces -= 1
        finished = self._complete(last)
        self.usage = finished.usage
        return [*events[:-1], finished]

    def settle(self) -> Usage:
        """Return the counts, estimated for an answer that was cut."""
        if self.usage == Usage() and self._pieces:
            self.usage = self._counts(Usage())
        return self.usage

    def abandoned(self, error: BaseException) -> Usage:
        """Return the counts of a request whose caller got nothing.

        They are those of all that came from the upstream; where nothing did, what a caller who left let it read.
        """
        if (came := self.settle()) != Usage():
            return came
        if isinstance(error, Exception) or not self._is_sent:
            return Usage(0, 0)
        return Usage(max(self._estimate_prompt() // CHARACTERS_PER_TOKEN, 0), 0)

    def _complete(self, done: Finished) -> Finished:
        now = monotonic_ns()
        told = done.timings
        load = max(told.load_ns or self._sent_ns - self._started_ns, 1)
        prompt = max(told.prompt_ns or self._first_ns - self._sent_ns, 1)
        completion = max(told.completion_ns or now - self._first_ns, 1)
        total = max(told.total_ns or now - self._started_ns, load + prompt + completion)
        return replace(done, usage=self._counts(done.usage), timings=Timings(load, prompt, completion, total))

    def _counts(self, told: Usage) -> Usage:
        prompt = told.prompt_tokens or self._estimate_prompt() // CHARACTERS_PER_TOKEN
        completion = told.completion_tokens or self._pieces
        return Usage(max(prompt, 1), max(completion, 1))
