"""Which hosted models ran lately: to clients they look loaded until their `keep_alive` is over."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from backend.features.catalog.service import CatalogModel

DEFAULT_SECONDS = 300.0
_FOREVER_SECONDS = 292 * 365 * 24 * 3600.0
"""How Ollama shows "for ever": a date 292 years ahead."""
_MAX_NAMES = 1_000


class RecentModels:
    """Remembers until when each model counts as loaded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def touch(self, key: str, keep_alive: float | None) -> None:
        """Note a use; negative `keep_alive` (seconds) means for ever, 0 means unload."""
        if keep_alive == 0:
            self._until.pop(key, None)
            return
        seconds = DEFAULT_SECONDS if keep_alive is None else keep_alive
        seconds = _FOREVER_SECONDS if seconds < 0 else min(seconds, _FOREVER_SECONDS)
        if len(self._until) < _MAX_NAMES or key in self._until:
            self._until[key] = self._clock() + seconds

    def used(self, model: CatalogModel, keep_alive: float | None = None) -> None:
        """Note a use of a hosted model; an Ollama machine knows by itself what it has loaded."""
        if not model.serves_itself:
            self.touch(model.name.key, keep_alive)

    def loaded(self) -> dict[str, datetime]:
        """Return the moment until which each loaded model counts as loaded, the longest first."""
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        ordered = sorted(self._until.items(), key=lambda item: item[1], reverse=True)
        return {key: datetime.now(UTC) + timedelta(seconds=until - now) for key, until in ordered}
