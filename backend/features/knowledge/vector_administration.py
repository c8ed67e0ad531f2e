"""What administrators are told of vectors, and the order to build their index anew."""

from collections.abc import Callable

from backend.core.db.database import Database
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.knowledge.embedders import Embedders, EmbedderStatus


class VectorAdministration:
    """Looks after vectors.

    Args:
        database: the store.
        audit: who did what.
        embedders: knows who makes vectors.
        kind: which kind of index is kept.
        rebuild: has every index built anew, soon.
    """

    def __init__(
        self, database: Database, audit: AuditLog, embedders: Embedders, kind: str, rebuild: Callable[[], None]
    ) -> None:
        self._database = database
        self._audit = audit
        self._embedders = embedders
        self._kind = kind
        self._rebuild = rebuild

    async def status(self) -> EmbedderStatus:
        """Return who makes vectors and why, and what waits for theirs."""
        return await self._embedders.status(self._kind)

    async def reindex(self, caller: Caller) -> EmbedderStatus:
        """Have missing vectors made and every index built anew in the background; searching goes on meanwhile."""
        async with self._database.transaction() as session:
            await self._audit.record(session, caller, "vectors.reindex", Subject("vectors", self._kind))
        self._rebuild()
        return await self.status()
