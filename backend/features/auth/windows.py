"""Counts what somebody does within a time, as `limits` does it: the last minute or hour, whenever that began.

Counted is in this process, or for several together in a Redis. While that is away each process counts for itself, with
its share of what is allowed: never without a bound.
"""

import hashlib
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from backend.core.shared import PREFIX, SharedStore, StoreAway

if TYPE_CHECKING:
    from limits.aio.storage import RedisStorage

_SWEEP_SECONDS = 60.0


class Windows(Protocol):
    """Counts in windows of time; an attempt that is refused is not counted."""

    async def hit(self, rule: RateLimitItem, *who: str) -> float | None:
        """Count one attempt of somebody; return the seconds to wait when there were too many, else None."""
        ...

    async def forget(self, rule: RateLimitItem, *who: str) -> None:
        """Count from nothing again."""
        ...


class MemoryWindows:
    """Counts in this process."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(TimesInMemory())

    async def hit(self, rule: RateLimitItem, *who: str) -> float | None:
        """Count one attempt; see `Windows`."""
        return await _hit(self._limiter, rule, who)

    async def forget(self, rule: RateLimitItem, *who: str) -> None:
        """Count from nothing again."""
        await self._limiter.clear(rule, *who)


class SharedWindows:
    """Counts in a Redis, under a hash of who is meant: addresses and emails are nothing to keep there.

    Args:
        store: the Redis.
        processes: how many of ours there are, as far as the settings know; each has its share while Redis is away.
    """

    def __init__(self, store: SharedStore, processes: int = 1) -> None:
        self._link = store.link
        self._limiter = MovingWindowRateLimiter(_redis_storage(store))
        self._own = MemoryWindows()
        self._processes = processes

    async def hit(self, rule: RateLimitItem, *who: str) -> float | None:
        """Count one attempt; see `Windows`."""
        try:
            return await self._link.ask(partial(_hit, self._limiter, rule, (_hashed(who),)))
        except StoreAway:
            return await self._own.hit(self._share(rule), *who)

    async def forget(self, rule: RateLimitItem, *who: str) -> None:
        """Count from nothing again."""
        await self._own.forget(self._share(rule), *who)
        try:
            await self._link.ask(partial(self._limiter.clear, rule, _hashed(who)))
        except StoreAway:
            return

    def _share(self, rule: RateLimitItem) -> RateLimitItem:
        return type(rule)(max(rule.amount // self._processes, 1), rule.multiples, rule.namespace)


class TimesInMemory(MemoryStorage):
    """The times of what was counted, for moving windows alone.

    The one of `limits` 5.8 removes old times in a task that hands every key to a thread and trips with a KeyError over
    those that are cleared meanwhile. Here nothing waits, so nothing comes in between.
    """

    def __init__(self) -> None:
        super().__init__()
        self._times: dict[str, tuple[int, deque[float]]] = {}
        self._sweep_at = 0.0

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, unless that would be too many."""
        now = time.time()
        self._sweep(now)
        _, times = self._times.setdefault(key, (expiry, deque()))
        while times and times[0] < now - expiry:
            times.popleft()
        if len(times) + amount > limit:
            return False
        times.extend([now] * amount)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002 (its form)
        """Return when the oldest was that still counts, and how many count."""
        now = time.time()
        _, times = self._times.get(key, (expiry, ()))
        counted = [one for one in times if one >= now - expiry]
        return (counted[0], len(counted)) if counted else (now, 0)

    async def clear(self, key: str) -> None:
        """Forget the times of a key."""
        self._times.pop(key, None)

    def _sweep(self, now: float) -> None:
        """Forget keys without a time that counts, once a minute."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_SECONDS
        old = [key for key, (expiry, times) in self._times.items() if not times or times[-1] < now - expiry]
        for key in old:
            del self._times[key]


async def _hit(limiter: MovingWindowRateLimiter, rule: RateLimitItem, who: tuple[str, ...]) -> float | None:
    if await limiter.hit(rule, *who):
        return None
    stats = await limiter.get_window_stats(rule, *who)
    return max(stats.reset_time - time.time(), 1.0)


def _redis_storage(store: SharedStore) -> "RedisStorage":
    from limits.aio.storage import RedisStorage  # noqa: PLC0415 (loads the client of Redis)

    pool = cast("Any", store.client.connection_pool)  # the library's types do not know of it
    return RedisStorage("async+redis://", implementation="redispy", key_prefix=f"{PREFIX}windows", connection_pool=pool)


def _hashed(who: tuple[str, ...]) -> str:
    told = "\0".join(who).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=16).hexdigest()
