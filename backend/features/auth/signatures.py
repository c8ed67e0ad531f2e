"""Remembers which signatures were seen, and when first; see `identities` for what that is good for.

With a Redis all processes know what one has seen. What a process has seen itself it also keeps, so that while Redis is
away a signature that was used here is not new.
"""

import hashlib
import math
from functools import partial
from typing import Protocol

from backend.core.errors import NotAuthenticated
from backend.core.shared import PREFIX, SharedStore, StoreAway

MAX_REMEMBERED = 4_096


class Signatures(Protocol):
    """Remembers signatures."""

    async def first_use(self, public_key: str, signature: bytes, now: float) -> float:
        """Return when a signature was first shown, which may be now.

        Raises `NotAuthenticated` when its caller has shown too many to remember.
        """
        ...


class MemorySignatures:
    """Remembers in this process, by caller, at most `MAX_REMEMBERED` each.

    Args:
        seconds: how long one is remembered.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._first_uses: dict[str, dict[bytes, float]] = {}

    async def first_use(self, public_key: str, signature: bytes, now: float) -> float:
        """Return when a signature was first shown; see `Signatures`."""
        uses = self._first_uses.setdefault(public_key, {})
        if (first := uses.get(signature)) is not None:
            return first
        while uses and now - next(iter(uses.values())) > self._seconds:
            del uses[next(iter(uses))]
        if len(uses) >= MAX_REMEMBERED:
            raise NotAuthenticated("too many signed requests within minutes; wait a little, or use an API key")
        uses[signature] = now
        return now


class SharedSignatures:
    """Remembers in a Redis too.

    Args:
        store: the Redis.
        seconds: how long a signature is remembered.
    """

    def __init__(self, store: SharedStore, seconds: float) -> None:
        self._store = store
        self._own = MemorySignatures(seconds)
        self._seconds = math.ceil(seconds)

    async def first_use(self, public_key: str, signature: bytes, now: float) -> float:
        """Return when a signature was first shown; see `Signatures`."""
        first = await self._own.first_use(public_key, signature, now)
        if first != now:
            return first
        name = f"{PREFIX}signed:{hashlib.sha256(public_key.encode() + signature).hexdigest()}"
        try:
            return await self._store.link.ask(partial(self._first_anywhere, name, now))
        except StoreAway:
            return now

    async def _first_anywhere(self, name: str, now: float) -> float:
        if await self._store.client.set(name, repr(now), nx=True, ex=self._seconds):
            return now
        kept = await self._store.client.get(name)
        if kept is None:  # it has just expired
            return now
        try:
            return float(kept)
        except ValueError:  # not written by us: not good for anything
            return -math.inf
