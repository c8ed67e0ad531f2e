"""What everything else stands on: the stores, who is who, and what tells processes of each other."""

import contextlib
from dataclasses import dataclass

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.keys import open_keys
from backend.bootstrap.redis import Shared, open_redis
from backend.bootstrap.sockets import open_bus
from backend.bootstrap.store import open_database
from backend.core.config import Settings
from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.features.accounts.deps import Accounts
from backend.features.audit.service import AuditLog
from backend.features.auth.running import RunningCalls
from backend.features.keys.deps import Keys
from backend.features.live.bus import MemoryBus
from backend.features.live.shared_bus import SharedBus
from backend.features.usage.writer import write as write_usage


@dataclass(frozen=True, slots=True)
class Ground:
    """See the module."""

    database: Database
    commits: GroupCommit
    shared: Shared
    audit: AuditLog
    running: RunningCalls
    accounts: Accounts
    keys: Keys
    bus: MemoryBus | SharedBus


async def open_ground(stack: contextlib.AsyncExitStack, settings: Settings, key: bytes) -> Ground:
    """Return it; the stack closes it."""
    database = await stack.enter_async_context(open_database(settings))
    commits = GroupCommit(database, first=(write_usage,))
    commits.start()
    stack.push_async_callback(commits.aclose)
    shared = await stack.enter_async_context(open_redis(settings))
    audit = AuditLog(database)
    running = RunningCalls()
    stack.push_async_callback(running.aclose)
    accounts = await open_accounts(settings, database, audit, key, running, shared.windows)
    keys = await stack.enter_async_context(open_keys(database, audit, accounts.sessions.known, running))
    bus = await stack.enter_async_context(open_bus(shared.store, key))
    return Ground(database, commits, shared, audit, running, accounts, keys, bus)
