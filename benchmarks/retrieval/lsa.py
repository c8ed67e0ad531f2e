"""A weak but true embedder that needs no weights: latent semantic analysis, fitted to the corpus it then searches."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from backend.features.knowledge.ports import Fingerprint, Purpose
from backend.features.knowledge.terms import index_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backend.features.knowledge.languages import Language

DIMENSIONS = 256


class LsaEmbedder:
    """Implements `TextEmbedder`: sublinear tf-idf of stems, cut to its strongest 256 directions."""

    def __init__(self, texts: Sequence[str], language: Language) -> None:
        self._language = language
        counted = [Counter(index_terms(text, language)) for text in texts]
        seen = Counter(term for counts in counted for term in counts)
        kept = sorted(term for term, count in seen.items() if count > 1)
        self._places = {term: place for place, term in enumerate(kept)}
        self._weights = np.array([math.log((1 + len(texts)) / (1 + seen[term])) + 1 for term in kept], dtype="f4")
        rows = np.stack([self._row(counts) for counts in counted])
        values, left = np.linalg.eigh((rows @ rows.T).astype("f8"))
        strongest = np.argsort(-values)[:DIMENSIONS]
        scales = np.sqrt(np.maximum(values[strongest], 1e-9))
        self._directions = (rows.T @ (left[:, strongest] / scales)).astype("f4")

    async def fingerprint(self) -> Fingerprint:
        """See `TextEmbedder.fingerprint`."""
        return Fingerprint("lsa0000000000000", "lsa", "lsa", self._directions.shape[1])

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:  # noqa: ARG002 (the same for both)
        """See `TextEmbedder.embed`."""
        rows = np.stack([self._row(Counter(index_terms(text, self._language))) for text in texts]) @ self._directions
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return [row.astype("<f4").tobytes() for row in rows / np.maximum(lengths, 1e-9)]

    def _row(self, counts: Counter[str]) -> np.ndarray:
        row = np.zeros(len(self._places), dtype="f4")
        for term, count in counts.items():
            if (place := self._places.get(term)) is not None:
                row[place] = (1 + math.log(count)) * self._weights[place]
        length = float(np.linalg.norm(row))
        return row / length if length else row
