"""Ids that nobody can guess and that grow with time (UUID version 7, RFC 9562).

Growing ids lie side by side in an index, so that a commit writes few of its pages. Their randomness comes from a pool,
for a request needs several, and each would ask the system on its own.
"""

import os
import uuid
from time import time_ns

_BYTES = 10
_AT_ONCE = 256
_OWN_BITS = 0xF << 76 | 0x3 << 62
_VERSION = 0x7 << 76 | 0x2 << 62
"""Which bits say what kind of UUID it is, and what they say; above them are 48 of the time, the others are random."""
_MS_NS = 1_000_000

_pool: list[int] = []


def new_id() -> uuid.UUID:
    """Return an id; may be called in any thread."""
    try:
        noise = _pool.pop()
    except IndexError:
        noise = _refill()
    return uuid.UUID(int=time_ns() // _MS_NS << 80 | noise)


def _refill() -> int:
    fresh = os.urandom(_BYTES * _AT_ONCE)
    numbers = (int.from_bytes(fresh[start : start + _BYTES]) for start in range(0, len(fresh), _BYTES))
    own, *others = (number & ~_OWN_BITS | _VERSION for number in numbers)
    _pool.extend(others)
    return own


os.register_at_fork(after_in_child=_pool.clear)
