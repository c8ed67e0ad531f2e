"""How long the loop stands still while vectors are added to the index in this process: streams would wait as long."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from backend.adapters.vectors.chroma_embedded import EmbeddedChroma  # noqa: E402 (the path is set above)

VECTORS, DIMENSIONS = 2_000, 1_024
TICK = 0.001


def measure_stall(count: int = VECTORS) -> dict[str, float]:
    """Return the gaps of a ticker in milliseconds while vectors are added, and how many were added in a second."""
    return asyncio.run(_measure(count))


async def _measure(count: int) -> dict[str, float]:
    drawn = np.random.default_rng(0).normal(size=(count, DIMENSIONS))
    vectors = [row.astype("<f4").tobytes() for row in drawn / np.linalg.norm(drawn, axis=1, keepdims=True)]
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    with tempfile.TemporaryDirectory() as folder:
        index = EmbeddedChroma(Path(folder))
        await index.open()
        ticker = asyncio.create_task(tick())
        started = time.perf_counter()
        await index.add("kb_stall", range(count), vectors)
        seconds = time.perf_counter() - started
        ticker.cancel()
        await index.aclose()
    percentiles = quantiles(gaps, n=100)
    return {
        "stall while adding, ms p50": percentiles[49] * 1e3,
        "stall while adding, ms p99": percentiles[98] * 1e3,
        "stall while adding, ms longest": max(gaps) * 1e3,
        "vectors added in a second": count / seconds,
    }


if __name__ == "__main__":
    for name, value in measure_stall().items():
        print(f"{name:<42} {value:8.3f}")
