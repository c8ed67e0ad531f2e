"""Settings -> what several processes share, in a Redis where there is one, else what each keeps for itself."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from backend.core.config import Settings
from backend.core.shared import SharedStore, StoreAway, open_shared_store
from backend.features.auth.signatures import MemorySignatures, SharedSignatures, Signatures
from backend.features.auth.windows import MemoryWindows, SharedWindows, Windows


@dataclass(frozen=True, slots=True)
class Shared:
    """The Redis, if there is one, and what bounds callers with its help or without."""

    store: SharedStore | None
    windows: Windows
    signatures: Signatures


@contextlib.asynccontextmanager
async def open_redis(settings: Settings) -> AsyncIterator[Shared]:
    """Yield what is shared; a Redis that does not answer is logged and tried again, it stops nobody."""
    remembered = 2 * settings.timeouts.signature_seconds
    if settings.redis_url is None:
        yield Shared(None, MemoryWindows(), MemorySignatures(remembered))
        return
    ca_file = None if settings.tls.ca_file is None else str(settings.tls.ca_file)
    async with open_shared_store(settings.redis_url.get_secret_value(), ca_file) as store:
        with contextlib.suppress(StoreAway):
            await store.link.ask(store.client.ping)
        yield Shared(store, SharedWindows(store, settings.server.workers), SharedSignatures(store, remembered))
