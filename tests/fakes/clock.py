"""A monotonic clock that only moves when a test says so."""


class ManualClock:
    """Call it for the time in seconds; `advance` moves it."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
