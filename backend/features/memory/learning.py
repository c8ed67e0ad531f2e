"""Keeps what ended well, in a task of its own: an answer's last bytes wait for none of it."""

import asyncio
import contextlib
from collections.abc import Callable

from backend.core.db.group_commit import UNHURRIED, GroupCommit
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.memory.recorder import Finished
from backend.features.memory.writing import MemoryWriter

_log = get_logger(__name__)

_MOST_WAITING = 1_000
"""Exchanges that wait to be looked at; more are not learned from."""
_CLOSING_SECONDS = 5.0


class Learner:
    """Writes exchanges one after the other.

    Args:
        commits: write them.
        writer: says how.
    """

    def __init__(self, commits: GroupCommit, writer: MemoryWriter) -> None:
        self._commits = commits
        self._writer = writer
        self._waiting: asyncio.Queue[Finished] = asyncio.Queue(_MOST_WAITING)
        self._writes: set[asyncio.Future[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.learned: Callable[[], None] = lambda: None
        """Is told when something was kept."""

    def learn(self, finished: Finished) -> None:
        """Take an exchange; more than can be kept up with are dropped."""
        try:
            self._waiting.put_nowait(finished)
        except asyncio.QueueFull:
            _log.warning("exchange_not_learned", reason="too many wait")

    def start(self) -> None:
        """Begin to keep."""
        self._task = asyncio.create_task(self._run(), name="learn from exchanges")

    async def aclose(self) -> None:
        """Keep what waits, then stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while not self._waiting.empty():
            self._keep(self._waiting.get_nowait())
        if self._writes:
            await asyncio.wait(self._writes, timeout=_CLOSING_SECONDS)

    async def _run(self) -> None:
        while True:
            self._keep(await self._waiting.get())
            await asyncio.sleep(0)

    def _keep(self, finished: Finished) -> None:
        try:
            exchange = finished.exchange()
            if exchange is None:
                return
            writing = self._commits.write(self._writer.keep, exchange, linger=UNHURRIED, is_durable=False)
        except GatewayError as error:
            _log.warning("exchange_not_learned", reason=error.message)
        except Exception:  # noqa: BLE001 (the next one may go well)
            _log.exception("exchange_not_learned_unexpectedly")
        else:
            self._writes.add(writing)
            writing.add_done_callback(self._written)

    def _written(self, done: "asyncio.Future[None]") -> None:
        self._writes.discard(done)
        error = None if done.cancelled() else done.exception()
        if error is None:
            self.learned()
        else:
            # Most often the chat or the agent was removed meanwhile.
            _log.info("exchange_not_learned", reason=getattr(error, "message", type(error).__name__))
