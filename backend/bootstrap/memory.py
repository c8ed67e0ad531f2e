"""Opens what agents remember."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

from backend.bootstrap.ground import Ground
from backend.core.config import Settings
from backend.features.history.deps import History
from backend.features.memory.deps import Memories, export_lines
from backend.features.memory.learning import Learner
from backend.features.memory.recall import Recall
from backend.features.memory.recorder import MemoryRecorder
from backend.features.memory.service import MemoryService
from backend.features.memory.upkeep import MemoryUpkeep
from backend.features.memory.writing import MemoryWriter


@contextlib.asynccontextmanager
async def open_memories(settings: Settings, ground: Ground, history: History) -> AsyncIterator[Memories]:
    """Yield memory; where no history is kept it learns nothing. `start` is for whoever serves."""
    retention = timedelta(days=settings.memory.retention_days)
    learner = Learner(ground.commits, MemoryWriter(settings.memory.exchanges))
    upkeep = MemoryUpkeep(ground.database, retention)
    learner.learned = upkeep.look
    recorders = (MemoryRecorder(history.switches, learner.learn),) if settings.history.enabled else ()
    service = MemoryService(ground.database, history.upkeep.compact)
    history.service.also_export(partial(export_lines, service))
    try:
        yield Memories(service, Recall(ground.database, retention), learner, upkeep, recorders)
    finally:
        await learner.aclose()
        await upkeep.aclose()
