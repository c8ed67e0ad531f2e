"""Documents into vectors: each text embedded once, kept in the database, put into the index of its scope."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable

from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.knowledge.embedders import EmbedderInUse, Embedders
from backend.features.knowledge.index_names import IndexName
from backend.features.knowledge.ports import VectorIndex
from backend.features.knowledge.vector_rows import PAGE, Indexed, VectorRows

_log = get_logger(__name__)


class VectorIndexer:
    """Implements `Indexer`.

    While the embedder changes, documents get the vectors of both: the new one must answer, the old one may be away.
    """

    def __init__(self, rows: VectorRows, index: VectorIndex, embedders: Embedders) -> None:
        self._rows = rows
        self._index = index
        self._embedders = embedders

    async def embed(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> None:
        """See `Indexer.embed`."""
        await self._embedders.ensure()
        for place, used in enumerate(self._embedders.writing):
            try:
                await self._embed(used, (document_id, version), report if place == 0 else lambda _percent: None)
            except GatewayError as error:
                if place == 0:
                    raise
                _log.warning("old_embedder_away", model=used.fingerprint.model, reason=error.message)
        report(100)

    async def index(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> None:
        """See `Indexer.index`."""
        for used in self._embedders.writing:
            rows = await self._rows.of_version(used.fingerprint.value, document_id, version)
            for start in range(0, len(rows), PAGE):
                await self._put(rows[start : start + PAGE])
                report(100 * start // len(rows))
        report(100)

    async def remove(self, document_id: uuid.UUID, *, but: int | None = None) -> None:
        """See `Indexer.remove`."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, scope in await self._rows.numbers_of(document_id, but):
            for used in self._embedders.writing:
                numbers[str(IndexName(scope.kind, scope.scope, used.fingerprint.value))].append(number)
        for name, gone in numbers.items():
            await self._index.remove(name, gone)

    async def backfill(self, used: EmbedderInUse) -> int:
        """Make the vectors that live passages lack; return how many were made."""
        made = 0
        while count := await self._embed_some(used, None):
            made += count
        return made

    async def _put(self, rows: Iterable[Indexed]) -> None:
        scopes: dict[str, list[Indexed]] = defaultdict(list)
        for row in rows:
            scopes[row.index].append(row)
        for name, ours in scopes.items():
            await self._index.add(name, [row.number for row in ours], [row.vector for row in ours])

    async def _embed(self, used: EmbedderInUse, document: tuple[uuid.UUID, int], report: Callable[[int], None]) -> None:
        waiting = await self._rows.count_without_vector(used.fingerprint.value, document)
        done = 0
        while count := await self._embed_some(used, document):
            done += count
            report(min(99, 100 * done // max(waiting, 1)))

    async def _embed_some(self, used: EmbedderInUse, document: tuple[uuid.UUID, int] | None) -> int:
        """Embed the next texts; return how many there were."""
        texts = await self._rows.without_vector(used.fingerprint.value, PAGE, document)
        if texts:
            vectors = await used.embedder.embed([text.text for text in texts], "document")
            pairs = [(text.text_hash, vector) for text, vector in zip(texts, vectors, strict=True)]
            await self._rows.keep(used.fingerprint.value, pairs)
        return len(texts)
