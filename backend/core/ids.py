"""Random ids, from a pool: a request needs several, and each would ask the system for randomness on its own."""

import os
import uuid

_BYTES = 16
_AT_ONCE = 256
_VERSION = 0xF000 << 64 | 0xC000 << 48
_RANDOM = 0x4000 << 64 | 0x8000 << 48
"""The bits of a UUID that say that it is random (version 4)."""

_pool: list[int] = []


def new_id() -> uuid.UUID:
    """Return an id that nobody can guess; may be called in any thread."""
    try:
        return uuid.UUID(int=_pool.pop())
    except IndexError:
        noise = os.urandom(_BYTES * _AT_ONCE)
        numbers = (int.from_bytes(noise[start : start + _BYTES]) for start in range(0, len(noise), _BYTES))
        fresh = [number & ~_VERSION | _RANDOM for number in numbers]
        own = fresh.pop()
        _pool.extend(fresh)
        return uuid.UUID(int=own)


os.register_at_fork(after_in_child=_pool.clear)
