"""Documents into vectors: each text embedded once, kept in the database, put into the index of its scope."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from backend.core.errors import GatewayError, StoreUnavailable
from backend.core.logging import get_logger
from backend.features.knowledge.embedders import EmbedderInUse, Embedders
from backend.features.knowledge.index_names import IndexName
from backend.features.knowledge.ports import VectorIndex
from backend.features.knowledge.vector_rows import PAGE, Indexed, Unembedded, VectorRows
from backend.llm.errors import ProviderRejected

_log = get_logger(__name__)

_AWAY = "found by its words alone for now: {} Vectors are made once this is over."
_REFUSED = "some passages are found by their words alone: the embedder refused them."
_MOST_REFUSED = 500
_UNINDEXED = "found by its words alone for now: the index of vectors does not answer. It is added once it does."


class EmbedderAway(Exception):
    """An embedder made no vectors; the message is one sentence that says why."""


class VectorIndexer:
    """Implements `Indexer`.

    While the embedder changes, documents get the vectors of both. An embedder or an index that is away keeps no
    document from being searched by its words; `complete` brings what it then lacks.
    """

    def __init__(self, rows: VectorRows, index: VectorIndex, embedders: Embedders) -> None:
        self._rows = rows
        self._index = index
        self._embedders = embedders
        self.suspect: Callable[[str], None] = lambda _name: None
        """Told of an index that could not be written."""
        self._refused: dict[str, set[bytes]] = defaultdict(set)
        """Texts that an embedder takes never, by its fingerprint: they must not keep others from theirs."""

    async def embed(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> str:
        """See `Indexer.embed`."""
        await self._embedders.ensure()
        notice = self._embedders.away and _AWAY.format(_sentence(self._embedders.away))
        for place, used in enumerate(self._embedders.writing):
            try:
                is_whole = await self._embed(used, (document_id, version), report if place == 0 else _tell_nobody)
                notice = notice or ("" if is_whole else _REFUSED)
            except EmbedderAway as error:
                _log.warning("embedder_away", model=used.fingerprint.model, reason=str(error))
                if place == 0:
                    notice = _AWAY.format(_sentence(str(error)))
        report(100)
        return notice

    async def index(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> str:
        """See `Indexer.index`."""
        notice = ""
        for used in self._embedders.writing:
            rows = await self._rows.of_version(used.fingerprint.value, document_id, version)
            for start in range(0, len(rows), PAGE):
                if not await self._put(rows[start : start + PAGE]):
                    notice = _UNINDEXED
                    break
                report(100 * start // len(rows))
        report(100)
        return notice

    async def remove(self, document_id: uuid.UUID, *, but: int | None = None) -> None:
        """See `Indexer.remove`."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, scope in await self._rows.numbers_of(document_id, but):
            for used in self._embedders.writing:
                numbers[str(IndexName(scope.kind, scope.scope, used.fingerprint.value))].append(number)
        for name, gone in numbers.items():
            try:
                await self._index.remove(name, gone)
            except StoreUnavailable as error:
                if but is None:
                    raise
                # A version that was replaced is found no more whatever the index says; it is mended later.
                _log.warning("vectors_left", index=name, reason=error.message)
                self.suspect(name)

    async def backfill(self, used: EmbedderInUse) -> int:
        """Make the vectors that live passages lack; return how many were made. Raises `EmbedderAway`."""
        made = 0
        while count := await self._embed_some(used, None):
            made += count
        return made

    async def complete(self, used: EmbedderInUse) -> None:
        """Put documents into the index that went without; those that lack nothing any more are told so."""
        for document_id, version in await self._rows.noticed():
            if await self._rows.count_without_vector(used.fingerprint.value, (document_id, version)):
                continue  # it became ready a moment ago; its turn comes
            if not await self.index(document_id, version, lambda _percent: None):
                await self._rows.forget_notice(document_id, version)

    async def _put(self, rows: Iterable[Indexed]) -> bool:
        """Add passages to their indices; return whether all could be written."""
        scopes: dict[str, list[Indexed]] = defaultdict(list)
        for row in rows:
            scopes[row.index].append(row)
        for name, ours in scopes.items():
            try:
                await self._index.add(name, [row.number for row in ours], [row.vector for row in ours])
            except StoreUnavailable as error:
                _log.warning("vectors_unindexed", index=name, reason=error.message)
                self.suspect(name)
                return False
        return True

    async def _embed(self, used: EmbedderInUse, document: tuple[uuid.UUID, int], report: Callable[[int], None]) -> bool:
        """Embed a version of a document; return whether nothing of it was refused."""
        waiting = await self._rows.count_without_vector(used.fingerprint.value, document)
        done = 0
        while count := await self._embed_some(used, document):
            done += count
            report(min(99, 100 * done // max(waiting, 1)))
        return not await self._rows.count_without_vector(used.fingerprint.value, document)

    async def _embed_some(self, used: EmbedderInUse, document: tuple[uuid.UUID, int] | None) -> int:
        """Embed the next texts; return how many there were. Raises `EmbedderAway`."""
        refused = self._refused[used.fingerprint.value]
        texts = await self._rows.without_vector(used.fingerprint.value, PAGE, document, refused)
        try:
            await self._make(used, texts)
        except ProviderRejected as error:
            await self._make_singly(used, texts, error)
        except GatewayError as error:
            raise EmbedderAway(error.message) from error
        return len(texts)

    async def _make_singly(self, used: EmbedderInUse, texts: Sequence[Unembedded], error: ProviderRejected) -> None:
        """Find out which texts an embedder refuses, and make the vectors of the others."""
        refused = self._refused[used.fingerprint.value]
        for text in texts:
            if len(refused) >= _MOST_REFUSED:
                raise EmbedderAway(error.message) from error
            try:
                await self._make(used, [text])
            except ProviderRejected as found:
                _log.warning("passage_refused", model=used.fingerprint.model, reason=found.message)
                refused.add(text.text_hash)
            except GatewayError as found:
                raise EmbedderAway(found.message) from found

    async def _make(self, used: EmbedderInUse, texts: Sequence[Unembedded]) -> None:
        if texts:
            vectors = await used.embedder.embed([text.text for text in texts], "document")
            pairs = [(text.text_hash, vector) for text, vector in zip(texts, vectors, strict=True)]
            await self._rows.keep(used.fingerprint.value, pairs)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _tell_nobody(_percent: int) -> None:
    """Take percents that nobody wants to know."""
