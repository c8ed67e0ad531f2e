"""How fast passages are found among many: windows of real text, real questions."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from statistics import quantiles

import numpy as np
from keyword_index import KeywordIndex

from backend.adapters.vectors.exact import ExactVectors
from backend.features.knowledge.fusion import fuse
from backend.features.knowledge.languages import Language

WINDOW = 120
DIMENSIONS = 1_024
HITS = 50


class Drawn:
    """Implements `VectorSource` with vectors at random: speed does not depend on what they mean."""

    def __init__(self, count: int) -> None:
        drawn = np.random.default_rng(0).normal(size=(count, DIMENSIONS)).astype("<f4")
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        self._rows = [(number, row.tobytes()) for number, row in enumerate(drawn)]

    async def stamp(self, index: str) -> tuple[int, Hashable]:
        """See `VectorSource.stamp`."""
        return len(self._rows), index

    async def rows(self, index: str) -> AsyncIterator[Sequence[tuple[int, bytes]]]:  # noqa: ARG002 (there is one)
        """See `VectorSource.rows`."""
        yield self._rows

    async def names(self) -> Sequence[str]:
        """See `VectorSource.names`."""
        return ("drawn",)

    def vector(self, number: int) -> bytes:
        """Return one of them."""
        return self._rows[number][1]


def measure_scale(texts: Sequence[str], questions: Sequence[str], count: int, *, has_vectors: bool) -> dict[str, float]:
    """Return the milliseconds of a question among `count` passages; with vectors both sides and their fusion."""
    words = " ".join(texts).split()
    drawn = random.Random(0)  # noqa: S311 (a sample, no secret)
    index = KeywordIndex(Language.FRENCH)
    for _ in range(count):
        start = drawn.randrange(len(words) - WINDOW)
        index.add("", " ".join(words[start : start + WINDOW]))
    index.prepare()
    asked = drawn.sample(list(questions), 300)
    times = asyncio.run(_ask(index, Drawn(count) if has_vectors else None, asked))
    percentiles = quantiles(times, n=100)
    what = f"{count:,} passages, {'hybrid' if has_vectors else 'keywords'}, ms"
    return {f"{what} p50": percentiles[49] * 1e3, f"{what} p99": percentiles[98] * 1e3}


async def _ask(index: KeywordIndex, source: Drawn | None, questions: Sequence[str]) -> list[float]:
    exact = None if source is None else ExactVectors(source)
    if exact is not None and source is not None:
        await exact.search("drawn", source.vector(0), 1)
    times = []
    for number, question in enumerate(questions):
        started = time.perf_counter()
        keyword = dict(index.search(question, HITS))
        if exact is not None and source is not None:
            fuse(keyword, dict(await exact.search("drawn", source.vector(number), HITS)), 0.5)
        times.append(time.perf_counter() - started)
    return times
