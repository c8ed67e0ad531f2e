"""Numbers and vectors as Chroma takes and gives them; no texts and nothing about them ever go there."""

from collections.abc import Sequence
from typing import Any

COLLECTION = {"embedding_function": None, "configuration": {"hnsw": {"space": "cosine"}}}
"""How every index is made: vectors come from us, Chroma never loads a model (CVE-2026-45829 is about that)."""
SAMPLE_HITS = 10
"""How deep a vector is looked for by itself: passages with the same text have the same vector."""
_SAME = 1e-4


def upsert_arguments(numbers: Sequence[int], vectors: Sequence[bytes]) -> dict[str, Any]:
    """Return the arguments of `upsert`; of numbers that come twice the last counts."""
    last = dict(zip(numbers, vectors, strict=True))
    return {"ids": [str(number) for number in last], "embeddings": matrix(list(last.values()))}


def matrix(vectors: Sequence[bytes]) -> Any:
    """Return vectors as the rows of an array."""
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1)


def hits(found: Any) -> list[tuple[int, float]]:
    """Return numbers and cosines of the answer to one question, nearest first."""
    return [
        (int(number), 1.0 - float(distance))
        for number, distance in zip(found["ids"][0], found["distances"][0], strict=True)
    ]


def reached(numbers: Sequence[str], found: Any) -> list[int]:
    """Return which numbers were found by their own vectors, given the answers in their order."""
    kept = []
    for number, ids, distances in zip(numbers, found["ids"], found["distances"], strict=True):
        is_crowded = len(ids) == SAMPLE_HITS and distances[-1] < _SAME
        if number in ids or is_crowded:
            kept.append(int(number))
    return kept
