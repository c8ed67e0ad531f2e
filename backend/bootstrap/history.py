"""Opens the history of conversations."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from backend.core.config import Settings
from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.features.history.deps import History
from backend.features.history.recorder import HistoryRecorder
from backend.features.history.service import HistoryService
from backend.features.history.switches import Switches
from backend.features.history.upkeep import Upkeep
from backend.features.history.writing import HistoryWriter

_TRIES = 2
_SPARE = timedelta(minutes=2)


@contextlib.asynccontextmanager
async def open_history(settings: Settings, database: Database, commits: GroupCommit) -> AsyncIterator[History]:
    """Yield the history; its upkeep begins when it is told to, and ends with it."""
    kept = settings.history
    longest = timedelta(seconds=settings.timeouts.total_seconds * _TRIES) + _SPARE
    retention = None if kept.retention_days is None else timedelta(days=kept.retention_days)
    upkeep = Upkeep(database, longest, retention)
    switches = Switches()
    service = HistoryService(database, upkeep, switches)
    await service.read_switches()
    recorder = HistoryRecorder(commits, HistoryWriter(), switches, upkeep.changed) if kept.enabled else None
    try:
        yield History(service, upkeep, recorder)
    finally:
        await upkeep.aclose()
