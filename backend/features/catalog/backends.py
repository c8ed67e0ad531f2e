"""A configured upstream while the process runs: its provider and whether it is well."""

from collections.abc import Callable
from typing import Literal

from backend.core.metrics import CIRCUIT_OPEN
from backend.llm.errors import CircuitOpen
from backend.llm.ports import ChatProvider, Completer, Embedder, ModelLister, ModelServer, Passthrough, Transcriber

CircuitState = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Leaves a failing backend alone for a while, then lets one request try.

    `failures` in a row open the circuit; it stays open for `open_seconds`, doubled with each failed try up to ten
    times that. While half open exactly one permit is out.
    """

    def __init__(self, name: str, failures: int, open_seconds: float, clock: Callable[[], float]) -> None:
        self._name = name
        self._limit = failures
        self._base = open_seconds
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._pause = open_seconds
        self._probing = False

    @property
    def state(self) -> CircuitState:
        """How the circuit stands now."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    @property
    def admits(self) -> bool:
        """Whether a request may be sent now."""
        return self.state == "closed" or (self.state == "half-open" and not self._probing)

    def acquire(self) -> "Permit":
        """Return a permit for one request; raise `CircuitOpen` while the circuit is open."""
        if not self.admits:
            wait = max((self._open_until or 0) - self._clock(), 1.0)
            raise CircuitOpen(
                f"backend {self._name!r} keeps failing and is left alone for {wait:.0f} s; try again then",
                retry_after=wait,
            )
        is_probe = self.state == "half-open"
        self._probing = self._probing or is_probe
        return Permit(self, is_probe=is_probe)

    def succeeded(self) -> None:
        """Note a request that went well."""
        self._failures = 0
        self._open_until = None
        self._pause = self._base
        CIRCUIT_OPEN.labels(self._name).set(0)

    def failed(self, *, was_probe: bool) -> None:
        """Note a request that failed by the backend's fault."""
        self._failures += 1
        if was_probe:
            self._pause = min(self._pause * 2, self._base * 10)
        if was_probe or (self._failures >= self._limit and self._open_until is None):
            self._open_until = self._clock() + self._pause
            CIRCUIT_OPEN.labels(self._name).set(1)

    def end_probe(self) -> None:
        """Let the next request try."""
        self._probing = False


class Permit:
    """The right to send one request; tell it once how that went (`abandon` when nobody will know)."""

    def __init__(self, breaker: CircuitBreaker, *, is_probe: bool) -> None:
        self._breaker: CircuitBreaker | None = breaker
        self._is_probe = is_probe

    def succeed(self) -> None:
        """The backend answered."""
        if breaker := self._release():
            breaker.succeeded()

    def fail(self) -> None:
        """The backend failed."""
        if breaker := self._release():
            breaker.failed(was_probe=self._is_probe)

    def abandon(self) -> None:
        """Nothing is known about the backend from this request."""
        self._release()

    def _release(self) -> CircuitBreaker | None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None and self._is_probe:
            breaker.end_probe()
        return breaker


class Backend:
    """One configured upstream: its provider, what that is able to do, and whether it is well.

    The abilities are looked up once: asking a provider with `isinstance` costs more than the rest of routing.
    """

    def __init__(self, name: str, kind: str, provider: ModelLister, breaker: CircuitBreaker) -> None:
        self.name = name
        self.kind = kind
        self.lister = provider
        self.chat = provider if isinstance(provider, ChatProvider) else None
        self.completer = provider if isinstance(provider, Completer) else None
        self.embedder = provider if isinstance(provider, Embedder) else None
        self.transcriber = provider if isinstance(provider, Transcriber) else None
        self.passthrough = provider if isinstance(provider, Passthrough) else None
        self.server = provider if isinstance(provider, ModelServer) else None
        self.breaker = breaker
        self.in_flight = 0
        """Answers it is working on for us."""
        self.last_error = ""
        """Why its model list could not be read the last time, or ""."""
