"""Work on documents ends when the process does."""

import asyncio
import uuid
from typing import Any, cast

from backend.features.knowledge.dispatcher import Dispatcher
from backend.features.knowledge.ingestion import Ingestion
from backend.features.knowledge.jobs import Jobs
from backend.features.knowledge.progress import Progress


class NoJobs:
    """Stands in for `Jobs` when there is nothing to do."""

    async def claim(self, only: Any) -> None:
        """Find nothing."""


async def test_it_ends_although_it_is_woken_at_that_moment() -> None:
    only = frozenset({uuid.uuid4()})
    jobs, ingestion = cast("Jobs", NoJobs()), cast("Ingestion", None)
    dispatcher = Dispatcher(jobs, ingestion, Progress(), slots=2, only=only)
    dispatcher.start()
    for _ in range(5):
        await asyncio.sleep(0)
    dispatcher.wake()
    async with asyncio.timeout(10):
        await dispatcher.aclose()
