"""How fast passages are found among many: windows of real text, real questions."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from pathlib import Path
from statistics import quantiles

import numpy as np
from keyword_index import KeywordIndex

from backend.adapters.vectors.chroma_embedded import ALONE, EmbeddedChroma
from backend.adapters.vectors.exact import MAX_ROWS, ExactVectors
from backend.features.knowledge.fusion import fuse
from backend.features.knowledge.languages import Language

WINDOW = 120
DIMENSIONS = 1_024
HITS = 50
PIECE = 10_000
NAME = "kb_drawn"


class Drawn:
    """Implements `VectorSource` with vectors at random: speed does not depend on what they mean."""

    def __init__(self, count: int) -> None:
        self.count = count
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
        return (NAME,)

    def vector(self, number: int) -> bytes:
        """Return one of them."""
        return self._rows[number][1]


def measure_scale(texts: Sequence[str], questions: Sequence[str], count: int) -> dict[str, float]:
    """Return the milliseconds of a question among `count` passages: by words, and by words and vectors, fused.

    Vectors are compared one by one where the gateway would do that in need, and searched in Chroma where they are many.
    """
    words = " ".join(texts).split()
    drawn = random.Random(0)  # noqa: S311 (a sample, no secret)
    index = KeywordIndex(Language.FRENCH)
    for _ in range(count):
        start = drawn.randrange(len(words) - WINDOW)
        index.add("", " ".join(words[start : start + WINDOW]))
    index.prepare()
    asked = drawn.sample(list(questions), 300)
    alone, both = asyncio.run(_measure(index, Drawn(count), asked))
    return {
        **_percentiles(f"{count:,} passages, keywords, ms", alone),
        **_percentiles(f"{count:,} passages, hybrid, ms", both),
    }


def _percentiles(what: str, times: Sequence[float]) -> dict[str, float]:
    percentiles = quantiles(times, n=100)
    return {f"{what} p50": percentiles[49] * 1e3, f"{what} p99": percentiles[98] * 1e3}


async def _measure(index: KeywordIndex, source: Drawn, questions: Sequence[str]) -> tuple[list[float], list[float]]:
    alone = await _ask(index, None, source, questions)
    if source.count <= MAX_ROWS:
        exact = ExactVectors(source)
        await exact.search(NAME, source.vector(0), 1)
        return alone, await _ask(index, exact, source, questions)
    with tempfile.TemporaryDirectory() as folder:
        kept = EmbeddedChroma(Path(folder), ALONE)
        await kept.open()
        numbers = range(source.count)
        for start in range(0, source.count, PIECE):
            piece = numbers[start : start + PIECE]
            await kept.add(NAME, piece, [source.vector(number) for number in piece])
            print(f"added {start + len(piece):,} vectors", file=sys.stderr)
        await kept.search(NAME, source.vector(0), 1)
        both = await _ask(index, kept, source, questions)
        await kept.aclose()
    return alone, both


async def _ask(
    index: KeywordIndex, vectors: ExactVectors | EmbeddedChroma | None, source: Drawn, questions: Sequence[str]
) -> list[float]:
    times = []
    for number, question in enumerate(questions):
        started = time.perf_counter()
        keyword = dict(index.search(question, HITS))
        if vectors is not None:
            fuse(keyword, dict(await vectors.search(NAME, source.vector(number), HITS)), 0.5)
        times.append(time.perf_counter() - started)
    return times
