"""Chooses the backend for a request and decides whether a failed try may be repeated."""

import asyncio
import random
from collections.abc import Sequence

from backend.core.metrics import RETRIES
from backend.features.catalog.service import Candidate, CatalogModel
from backend.llm.errors import ProviderError

_MAX_WAIT = 5.0
"""An upstream that asks for a longer pause is not asked again by us; the caller is told instead."""
_PAUSES = (0.05, 0.5)
_BUDGET_SHARE, _BUDGET_FLOOR = 0.2, 3


def choose(model: CatalogModel, without: Candidate | None = None) -> Candidate:
    """Return the candidate to ask: one whose circuit admits requests, with the fewest in flight.

    `without` is a candidate that just failed; it is only taken again when there is no other.
    """
    if len(model.candidates) == 1:
        return model.candidates[0]
    others = [c for c in model.candidates if c is not without] or list(model.candidates)
    open_to_requests = [c for c in others if c.backend.breaker.admits] or others
    fewest = min(c.backend.in_flight for c in open_to_requests)
    return random.choice([c for c in open_to_requests if c.backend.in_flight == fewest])  # noqa: S311 (no secret)


class RetryBudget:
    """Allows one more try per request, and only while few requests are being tried again.

    Nothing may have been sent to the client, and the upstream must not have worked on the request: a read timeout is
    never repeated, since the money already burns.
    """

    def __init__(self) -> None:
        self._retrying = 0

    async def wait(self, error: ProviderError, failed: Candidate, candidates: Sequence[Candidate]) -> bool:
        """Return whether to try once more, after the pause that is due."""
        in_flight = sum(c.backend.in_flight for c in candidates)
        if not error.retriable or self._retrying >= max(_BUDGET_FLOOR, in_flight * _BUDGET_SHARE):
            return False
        if error.retry_after is not None and error.retry_after > _MAX_WAIT:
            return False
        has_other = any(c is not failed and c.backend.breaker.admits for c in candidates)
        pause = random.uniform(*_PAUSES) if error.retry_after is None else error.retry_after  # noqa: S311
        RETRIES.labels(failed.backend.name).inc()
        self._retrying += 1
        try:
            await asyncio.sleep(0 if has_other else pause)
        finally:
            self._retrying -= 1
        return True
