"""Opens the services of keys."""

import contextlib
from collections.abc import AsyncIterator

from backend.core.db.database import Database
from backend.features.accounts.known_sessions import KnownSessions
from backend.features.audit.service import AuditLog
from backend.features.auth.running import RunningCalls
from backend.features.keys.deps import Keys
from backend.features.keys.last_uses import LastUses
from backend.features.keys.public_keys import PublicKeyService
from backend.features.keys.service import KeyService
from backend.features.keys.stores import DatabaseIdentities, DatabaseKeys


@contextlib.asynccontextmanager
async def open_keys(
    database: Database, audit: AuditLog, sessions: KnownSessions, running: RunningCalls
) -> AsyncIterator[Keys]:
    """Yield the services; whom the sessions forget, because an account or a role changed, the keys forget too."""
    uses = LastUses(database)
    store, identities = DatabaseKeys(database, uses), DatabaseIdentities(database)
    sessions.lead(store.known)
    sessions.lead(identities.known)
    store.known.tell(running.look)
    identities.known.tell(running.look)
    running.ask(store.ended)
    running.ask(identities.ended)
    own = KeyService(database, audit, store)
    await own.prune()
    try:
        yield Keys(own, PublicKeyService(database, audit, identities), store, identities)
    finally:
        await uses.aclose()
