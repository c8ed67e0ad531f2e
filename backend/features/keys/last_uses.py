"""Writes down when keys were last used, beside the requests that use them."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from datetime import datetime

from backend.core.db.database import Database
from backend.core.db.tables import utc_now
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.keys.repository import ApiKeys

_log = get_logger(__name__)

COLLECT_SECONDS = 1.0


class LastUses:
    """Collects used keys for a second and writes them in one transaction; what the store does not take is lost."""

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now
        self._keys = ApiKeys()
        self._used: set[uuid.UUID] = set()
        self._collecting: asyncio.Task[None] | None = None

    def note(self, key_id: uuid.UUID) -> None:
        """Let a key's use be written soon; returns at once."""
        self._used.add(key_id)
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.create_task(self._collect(), name="note used keys")

    async def write(self) -> None:
        """Write what was collected, now."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            async with self._database.transaction() as transaction:
                await self._keys.note_used(transaction, used, self._now())
        except GatewayError as error:
            _log.warning("key_uses_unwritten", reason=error.message)
        except Exception:  # noqa: BLE001 (a request is not to suffer from a note about it)
            _log.exception("key_uses_unwritten_unexpectedly")

    async def aclose(self) -> None:
        """Write the rest and stop."""
        if self._collecting is not None:
            self._collecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._collecting
        await self.write()

    async def _collect(self) -> None:
        while self._used:
            await asyncio.sleep(COLLECT_SECONDS)
            await self.write()
