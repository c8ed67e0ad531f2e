"""Opens the history of conversations."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from backend.core.config import Settings
from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.features.agents.service import AgentService
from backend.features.generation.intake import Intake
from backend.features.history.deps import History
from backend.features.history.following import Followers
from backend.features.history.recorder import HistoryRecorder
from backend.features.history.replies import Replies
from backend.features.history.sending import Sending
from backend.features.history.service import HistoryService
from backend.features.history.switches import Switches
from backend.features.history.telling import Teller
from backend.features.history.upkeep import Upkeep
from backend.features.history.writing import HistoryWriter
from backend.features.live.bus import LiveBus

_TRIES = 2
_SPARE = timedelta(minutes=2)


@contextlib.asynccontextmanager
async def open_history(
    settings: Settings, database: Database, commits: GroupCommit, bus: LiveBus
) -> AsyncIterator[History]:
    """Yield the history; its upkeep begins when it is told to, and ends with it."""
    kept = settings.history
    longest = timedelta(seconds=settings.timeouts.total_seconds * _TRIES) + _SPARE
    retention = None if kept.retention_days is None else timedelta(days=kept.retention_days)
    teller, replies = Teller(bus), Replies(database, longest)
    upkeep = Upkeep(database, longest, retention)
    switches = Switches()
    service = HistoryService(database, upkeep, switches, bus)
    await service.read_switches()
    upkeep.each_minute(service.read_switches)  # other processes change them, too
    recorder = HistoryRecorder(commits, HistoryWriter(), switches, teller, upkeep.changed)
    recorders = (recorder,) if kept.enabled else ()
    try:
        yield History(service, upkeep, teller, replies, switches, Followers(bus, service), recorders)
    finally:
        await teller.aclose()
        await upkeep.aclose()


def with_sending(history: History, intake: Intake, agents: AgentService) -> History:
    """Return the history with what sends messages; that needs what is built after it."""
    is_kept = bool(history.recorders)
    sending = Sending(history.service, history.replies, history.switches, intake, agents, is_kept=is_kept)
    return replace(history, sending=sending)
