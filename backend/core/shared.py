"""A Redis that several processes share: counts, what was seen, what is going on; nothing whose loss would be one.

It may be away: then `Link.ask` raises `StoreAway` at once, and whoever asked goes on with what this process knows. One
question a second finds out whether it is back. Its going and its coming are logged, each once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from backend.core.logging import get_logger

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 0.5
RETRY_SECONDS = 1.0
"""How often a Redis that is away is tried."""
PREFIX = "passerelle:"
"""How every key and channel begins, so that a Redis may be shared and rights in it can be narrow."""

_MOST_CONNECTIONS = 10
"""Each question takes less than a millisecond; a burst waits for its turn rather than opening many at once."""
_log = get_logger(__name__)
Answer = TypeVar("Answer")


class StoreAway(Exception):
    """The shared store does not answer; nobody is told, its users go on without it."""


class Link:
    """Asks a store that may be away.

    Args:
        failures: what its client raises when it does not answer, or not as it should.
        clock: seconds that never go back.
    """

    def __init__(self, failures: tuple[type[Exception], ...] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._failures: tuple[type[Exception], ...] = (*failures, OSError, TimeoutError)
        self._clock = clock
        self._is_away = False
        self._retry_at = 0.0

    @property
    def is_away(self) -> bool:
        """Whether the last question had no answer."""
        return self._is_away

    async def ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer; raise `StoreAway` when there is none, or when there was none a moment ago."""
        if self._is_away:
            if self._clock() < self._retry_at:
                raise StoreAway
            self._retry_at = self._clock() + RETRY_SECONDS
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
                answer = await question()
        except self._failures as error:
            self._note_away(error)
            raise StoreAway from None
        if self._is_away:
            self._is_away = False
            _log.info("redis_back")
        return answer

    def _note_away(self, error: Exception) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        if not self._is_away:
            self._is_away = True
            # Only the kind of error: a client's message may repeat the address.
            _log.warning("redis_away", reason=type(error).__name__, hint="each process goes on by itself until then")


@dataclass(frozen=True, slots=True)
class SharedStore:
    """An open Redis, and how it is asked."""

    client: "Redis"
    link: Link


@asynccontextmanager
async def open_shared_store(url: str, ca_file: str | None = None) -> AsyncIterator[SharedStore]:
    """Yield the store of an address; it need not answer yet."""
    # Only here: who has no Redis does not pay for its client.
    from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    trust = {"ssl_ca_certs": ca_file} if ca_file is not None and url.startswith("rediss:") else {}
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_MOST_CONNECTIONS,
        timeout=CONNECT_SECONDS + ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),  # once, for a connection that was dropped while nobody used it
        protocol=2,
        **trust,
    )
    client = Redis(connection_pool=pool)
    try:
        yield SharedStore(client, Link((RedisError,)))
    finally:
        await client.aclose()
        await pool.aclose()
