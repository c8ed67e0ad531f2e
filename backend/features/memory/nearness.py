"""Vectors of memories compared with one another: exactly, for there are few of one user with one agent."""

from collections.abc import Sequence

SAME = 0.95
"""The cosine from which on two exchanges are taken for the same."""

Numbered = tuple[int, bytes]
"""The number of a memory and its vector."""


def nearest(rows: Sequence[Numbered], wanted: bytes, limit: int) -> dict[int, float]:
    """Return the cosines of the nearest memories, nearest first; vectors of another length are passed over."""
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    fitting = [row for row in rows if len(row[1]) == len(wanted)]
    if not fitting:
        return {}
    matrix = np.frombuffer(b"".join(data for _, data in fitting), dtype="<f4").reshape(len(fitting), -1)
    cosines = matrix @ np.frombuffer(wanted, dtype="<f4")
    best = np.argsort(-cosines, kind="stable")[:limit]
    return {fitting[int(at)][0]: float(cosines[at]) for at in best}


def replaced(known: Sequence[Numbered], added: Sequence[Numbered]) -> set[int]:
    """Return the memories whose place newer ones take, which say about the same.

    Args:
        known: those that were there.
        added: new ones, in their order.
    """
    import numpy as np  # noqa: PLC0415 (memory that only vectors need)

    every = sorted([*known, *added])
    size = len(added[0][1]) if added else 0
    every = [row for row in every if len(row[1]) == size]
    if not every:
        return set()
    numbers = np.array([number for number, _ in every])
    matrix = np.frombuffer(b"".join(data for _, data in every), dtype="<f4").reshape(len(every), -1)
    gone: set[int] = set()
    for number, data in added:
        near = (matrix @ np.frombuffer(data, dtype="<f4")) > SAME
        gone.update(int(found) for found in numbers[near & (numbers < number)])
        if bool(np.any(near & (numbers > number))):
            gone.add(number)
    return gone
