"""Vectors as Ollama's clients expect them: cut to the dimensions asked for, at length one."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

from backend.core.errors import InvalidRequest

_DIGITS = 9
"""Decimals of a vector's numbers: finer than any use of a normalised vector can tell."""


async def unit_vectors(vectors: Sequence[Sequence[float]], dimensions: int | None) -> AsyncIterator[list[float]]:
    """Yield vectors one by one, letting other work run in between: many of them take a second."""
    for vector in vectors:
        yield _normalise(vector if dimensions is None else vector[:dimensions])
        await asyncio.sleep(0)


def _normalise(vector: Sequence[float]) -> list[float]:
    """Return the vector at length one; a zero vector stays, what is not a number is refused as Ollama does."""
    length = math.sqrt(math.fsum(x * x for x in vector))
    if not math.isfinite(length):
        raise InvalidRequest("embedding contains NaN or Inf values")
    return [round(x / length, _DIGITS) for x in vector] if length else list(vector)
