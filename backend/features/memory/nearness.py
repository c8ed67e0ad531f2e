"""Vectors of memories compared with one another: exactly, for there are few of one user with one agent."""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

SAME = 0.95
"""The cosine from which on two exchanges are taken for the same."""

Numbered = tuple[int, bytes]
"""The number of a memory and its vector."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of somebody's memories, one a row, with their numbers."""

    numbers: Any
    matrix: Any

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.matrix.nbytes + self.numbers.nbytes)


class VectorCache:
    """Vectors that were used last, as long as nothing was added or removed; bounded by their bytes."""

    def __init__(self, most_bytes: int = 64 * 2**20) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, tuple[Hashable, Vectors]] = OrderedDict()

    def get(self, key: Hashable, stamp: Hashable) -> Vectors | None:
        """Return what is kept, if it is as the store is now."""
        found = self._kept.get(key)
        if found is None or found[0] != stamp:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: Hashable, stamp: Hashable, vectors: Vectors) -> None:
        """Keep some, and forget those not used for longest."""
        self._kept[key] = (stamp, vectors)
        self._kept.move_to_end(key)
        while self._kept and sum(kept.size for _, kept in self._kept.values()) > self._most_bytes:
            self._kept.popitem(last=False)


def stack(rows: Sequence[Numbered]) -> Vectors:
    """Return vectors as they are compared; those of another length than the first are passed over."""
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    size = len(rows[0][1]) if rows else 0
    fitting = [row for row in rows if len(row[1]) == size]
    joined = b"".join(data for _, data in fitting)
    matrix = np.frombuffer(joined, dtype="<f4").reshape(len(fitting), size // 4)
    return Vectors(np.array([number for number, _ in fitting], dtype="i8"), matrix)


def nearest(vectors: Vectors, wanted: bytes, limit: int, without: Collection[int] = ()) -> dict[int, float]:
    """Return the cosines of the nearest memories, nearest first, without some; nothing for another length."""
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    if not len(vectors.numbers) or vectors.matrix.shape[1] * 4 != len(wanted):
        return {}
    cosines = vectors.matrix @ np.frombuffer(wanted, dtype="<f4")
    best = np.argsort(-cosines, kind="stable")[: limit + len(without)]
    found = {int(vectors.numbers[at]): float(cosines[at]) for at in best}
    return dict([(number, cosine) for number, cosine in found.items() if number not in without][:limit])


def replaced(known: Sequence[Numbered], added: Sequence[Numbered]) -> set[int]:
    """Return the memories whose place newer ones take, which say about the same.

    Args:
        known: those that were there.
        added: new ones, in their order.
    """
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    if not added:
        return set()
    every = stack([*added, *known])
    numbers, matrix = every.numbers, every.matrix
    gone: set[int] = set()
    for number, data in added:
        near = (matrix @ np.frombuffer(data, dtype="<f4")) > SAME
        gone.update(int(found) for found in numbers[near & (numbers < number)])
        if bool(np.any(near & (numbers > number))):
            gone.add(number)
    return gone
