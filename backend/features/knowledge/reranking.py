"""The port of a model that reads a question and passages together and says how well each answers."""

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """Scores passages for a question."""

    async def rerank(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return one score per text in their order, higher for better ones; raise `GatewayError` when it is away."""
        ...
