"""Two rankings of the same passages into one: weighted min-max of their scores.

Not reciprocal ranks: with a weak dense side those lower quality (`rag.md` 0, point 8, and 5.2). Each side is scaled to
0..1 among its own hits; what a side did not find counts as its worst. What the dense side could not look at is no
worse for that: it counts by its words alone, as everything does where there are no vectors.
"""

from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def fuse(
    keyword: Mapping[Key, float], dense: Mapping[Key, float], dense_weight: float, unseen: Collection[Key] = ()
) -> dict[Key, float]:
    """Return one score per passage that either side found, best first.

    Args:
        keyword: scores, the higher the better.
        dense: scores, the higher the better.
        dense_weight: 0 for keywords alone, 1 for vectors alone.
        unseen: what the dense side could not look at.
    """
    ours, theirs = _scaled(keyword), _scaled(dense)
    alike = {key: ours[key] for key in unseen if key in ours}
    scores = {
        key: (1 - dense_weight) * ours.get(key, 0.0) + dense_weight * theirs.get(key, alike.get(key, 0.0))
        for key in dict.fromkeys([*keyword, *dense])
    }
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def _scaled(scores: Mapping[Key, float]) -> dict[Key, float]:
    """Return scores between 0 and 1; where all are equal, 1."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    width = high - low
    return {key: (score - low) / width if width else 1.0 for key, score in scores.items()}
