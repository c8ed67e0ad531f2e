"""A server that sorts passages by how well they answer: `POST /v1/rerank` as vLLM, llama.cpp and TEI speak it."""

from collections.abc import Sequence

import msgspec

from backend.core.errors import GatewayError
from backend.llm.errors import ProviderProtocolError
from backend.providers.http import Upstream

_PATH = "/v1/rerank"
_MAX_TEXT = 4_000
"""Characters of a passage; what is longer than such a model reads is refused by some servers."""


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Reply(msgspec.Struct):
    results: list[_Result]


class HttpReranker:
    """Implements `features.knowledge.reranking.Reranker`."""

    def __init__(self, upstream: Upstream, model: str) -> None:
        self._upstream = upstream
        self._model = model

    async def rerank(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.rerank`."""
        documents = [text[:_MAX_TEXT] for text in texts]
        body = {"model": self._model, "query": question, "documents": documents, "top_n": len(documents)}
        return _read(await self._upstream.post(_PATH, body), len(documents), self._unreadable())

    def _unreadable(self) -> GatewayError:
        return ProviderProtocolError("the reranker sent a reply that cannot be read")


def _read(reply: bytes, count: int, unreadable: GatewayError) -> list[float]:
    """Return one score per text; a server may give them in any order, but each once."""
    try:
        results = msgspec.json.decode(reply, type=_Reply).results
    except msgspec.DecodeError:
        raise unreadable from None
    scores = {result.index: result.relevance_score for result in results}
    if scores.keys() != set(range(count)):
        raise unreadable
    return [scores[index] for index in range(count)]
