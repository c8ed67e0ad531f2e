"""Vectors by a model of the backends: the same way to them as every request has, so keys, breakers and metrics too."""

import asyncio
import hashlib
import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from backend.core.errors import GatewayError
from backend.features.auth.context import CallContext
from backend.features.catalog.service import CatalogModel
from backend.features.generation.service import GenerationService
from backend.features.knowledge.embedder_choice import KNOWLEDGE
from backend.features.knowledge.embedding_models import EmbeddingModel, about
from backend.features.knowledge.ports import Fingerprint, Purpose
from backend.llm.errors import ContextTooLong, ProviderError, ProviderProtocolError, ProviderRejected, ProviderTimeout
from backend.llm.types import EmbedRequest

QUERY_SECONDS = 3.0
"""How long the vector of a question may take: then keywords alone answer."""
_BATCH_SECONDS = 120.0
_BATCH_TEXTS, _BATCH_TOKENS = 64, 8_000
_CHARACTERS_PER_TOKEN = 3
"""Fewer than for budgets: a batch that is refused costs more than a small one."""
_TRIES = 4
_PAUSE, _MAX_PAUSE = 0.5, 20.0
_CACHED_QUERIES = 2_000
_PROBE = "dimensions"
_SHORTEST = 64
"""Characters below which a text is not cut further: then it is not its length that is refused."""
_MOST_DIMENSIONS = 8192


def make_fingerprint(provider: str, model: str, dimensions: int) -> Fingerprint:
    """Return which embedder this is; its prefixes are part of it."""
    told = "\n".join((provider, model, str(dimensions), about(model).scheme))
    return Fingerprint(hashlib.sha256(told.encode()).hexdigest()[:16], provider, model, dimensions)


class CatalogEmbedder:
    """Implements `TextEmbedder`.

    Args:
        model: who makes the vectors.
        generation: the way to it.
        known: the fingerprint of before, if this is the embedder of the vectors there are: it is then not asked.
    """

    def __init__(self, model: CatalogModel, generation: GenerationService, known: Fingerprint | None = None) -> None:
        self._model = model
        self._generation = generation
        self._about: EmbeddingModel = about(model.info.model_id)
        self._fingerprint = known
        self._queries: OrderedDict[str, bytes] = OrderedDict()
        self._asking = asyncio.Lock()

    async def fingerprint(self) -> Fingerprint:
        """See `TextEmbedder.fingerprint`."""
        async with self._asking:
            if self._fingerprint is None:
                vectors = await self._patiently([self._about.prepared(_PROBE, "document")])
                provider, name = self._model.backend.kind, self._model.info.model_id
                self._fingerprint = make_fingerprint(provider, name, len(vectors[0]) // 4)
            return self._fingerprint

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:
        """See `TextEmbedder.embed`; a question is asked once and briefly, documents patiently."""
        if purpose == "query":
            return [await self._query(text) for text in texts]
        dimensions = (await self.fingerprint()).dimensions
        vectors: list[bytes] = []
        for batch in _batches([self._about.prepared(text, purpose) for text in texts]):
            vectors += self._checked(await self._patiently(batch), dimensions)
        return vectors

    async def _query(self, text: str) -> bytes:
        if text in self._queries:
            self._queries.move_to_end(text)
            return self._queries[text]
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                dimensions = (await self.fingerprint()).dimensions
                made = await self._ask([self._about.prepared(text, "query")], has_place=True)
        except TimeoutError:
            raise ProviderTimeout(f"the embedder did not answer within {QUERY_SECONDS:.0f} s") from None
        vector = self._queries[text] = self._checked(made, dimensions)[0]
        if len(self._queries) > _CACHED_QUERIES:
            self._queries.popitem(last=False)
        return vector

    def _checked(self, vectors: Sequence[bytes], dimensions: int) -> Sequence[bytes]:
        """Refuse vectors of another length: the model behind the name was exchanged."""
        for vector in vectors:
            if len(vector) != dimensions * 4:
                self._fingerprint = None  # asked again the next time: it is another embedder now
                raise ProviderProtocolError(
                    f"embedder {self._model.info.model_id!r} made {len(vector) // 4} numbers, not {dimensions}: "
                    "another model has its name; run 'passerelle reindex'"
                )
        return vectors

    async def _patiently(self, batch: Sequence[str]) -> Sequence[bytes]:
        """Ask with pauses while the upstream did no work; halve what is too much, cut a text that is too long."""
        for tries in range(1, _TRIES + 1):
            try:
                async with asyncio.timeout(_BATCH_SECONDS):
                    return await self._ask(batch)
            except TimeoutError:
                raise ProviderTimeout("the embedder took too long for a batch of passages") from None
            except ContextTooLong as error:
                return await self._in_parts(batch, error)
            except ProviderRejected as error:
                if not _is_too_much(error):
                    raise
                return await self._in_parts(batch, error)
            except GatewayError as error:
                if tries == _TRIES or not _may_pass(error):
                    raise
                await asyncio.sleep(_pause(error, tries))
        raise ProviderTimeout("the embedder took too long for a batch of passages")

    async def _in_parts(self, batch: Sequence[str], error: ProviderRejected) -> Sequence[bytes]:
        middle = len(batch) // 2
        if middle:
            return [*await self._patiently(batch[:middle]), *await self._patiently(batch[middle:])]
        text = batch[0]
        if len(text) <= _SHORTEST:
            raise error
        return await self._patiently([text[: len(text) * 2 // 3]])

    async def _ask(self, batch: Sequence[str], *, has_place: bool = False) -> Sequence[bytes]:
        """Ask once; a question is part of a request that has its place in the queue, documents wait for one."""
        request = EmbedRequest(self._model.info.model_id, tuple(batch))
        made = await self._generation.embed(self._model, request, CallContext(KNOWLEDGE), has_place=has_place)
        if len(made.vectors) != len(batch):
            raise ProviderProtocolError(f"the embedder sent {len(made.vectors)} vectors, not {len(batch)}")
        return await asyncio.to_thread(_unit_bytes, made.vectors)


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    used = 0
    for text in texts:
        cost = len(text) // _CHARACTERS_PER_TOKEN + 1
        if batch and (len(batch) >= _BATCH_TEXTS or used + cost > _BATCH_TOKENS):
            yield batch
            batch, used = [], 0
        batch.append(text)
        used += cost
    if batch:
        yield batch


def _may_pass(error: GatewayError) -> bool:
    """Whether waiting may help: the upstream did no work, or our own queue was full."""
    return error.retriable if isinstance(error, ProviderError) else error.retry_after is not None


def _is_too_much(error: ProviderRejected) -> bool:
    said = error.message.lower()
    return error.code == "3210" or "too many" in said or "too large" in said or "token" in said


def _pause(error: GatewayError, tries: int) -> float:
    """Return a wait that grows, and that others who failed at the same time do not share."""
    asked = error.retry_after or 0.0
    grown: float = min(_PAUSE * 2**tries, _MAX_PAUSE)
    return max(min(asked, _MAX_PAUSE), grown * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)


def _unit_bytes(vectors: Sequence[Sequence[float]]) -> list[bytes]:
    """Return vectors at length one; refuse what cannot be compared."""
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    made = []
    for numbers in vectors:
        vector = np.asarray(numbers, dtype="f8")
        length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
        if not 0 < vector.size <= _MOST_DIMENSIONS or not np.isfinite(length) or not length:
            raise ProviderProtocolError("the embedder sent a vector that is empty, zero or holds no numbers")
        made.append((vector / length).astype("<f4").tobytes())
    return made
