"""The arithmetic of quotas: what is used and held back of each on one day, for the length of one transaction."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from backend.features.usage.entries import Entry, Refusal

Key = tuple[str, date]


@dataclass(slots=True)
class Window:
    """What was used of one quota on one day."""

    spent: int = 0
    reserved: int = 0
    is_changed: bool = False


class Windows:
    """The windows that a transaction has locked."""

    def __init__(self) -> None:
        self._windows: dict[Key, Window] = {}

    def put(self, key: Key, spent: int, reserved: int) -> None:
        """Take over a window as the store has it."""
        self._windows[key] = Window(spent, reserved)

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Return which of these the store did not have."""
        return [key for key in keys if key not in self._windows]

    def changed(self) -> Iterator[tuple[Key, Window]]:
        """Yield what must be written."""
        return ((key, window) for key, window in self._windows.items() if window.is_changed)

    def reserve(self, entry: Entry) -> Refusal | None:
        """Hold a request's tokens back in all of its quotas; in none, and tell which, when one has no room."""
        windows = [self._windows[key] for key in keys_of(entry)]
        for limit, window in zip(entry.limits, windows, strict=True):
            if window.spent + window.reserved + entry.reserved > limit.tokens:
                return Refusal(limit, window.spent, window.reserved)
        for window in windows:
            window.reserved += entry.reserved
            window.is_changed = True
        return None

    def settle(self, entry: Entry, tokens: int) -> None:
        """Charge what a request used, and hold nothing back for it any more."""
        for key in keys_of(entry):
            window = self._windows[key]
            window.spent += tokens
            window.reserved = max(window.reserved - entry.reserved, 0)
            window.is_changed = True

    def correct(self, entry: Entry, tokens: int, charged: int) -> None:
        """Charge what a request used that was given up as lost and charged otherwise."""
        for key in keys_of(entry):
            window = self._windows[key]
            window.spent = max(window.spent + tokens - charged, 0)
            window.is_changed = True


def keys_of(entry: Entry) -> list[Key]:
    """Return the windows that a request counts for."""
    return [(limit.subject, entry.day) for limit in entry.limits]
