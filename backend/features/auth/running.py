"""What is being answered right now, and for whom: who loses access loses the answers that run, not only the next ones.

Only callers with an account are kept, one entry per request and nothing per token. They are looked at when something
changes in this process, and every half minute for what other processes change; when nothing runs, nobody is asked.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from backend.core.errors import GatewayError, NotAuthenticated
from backend.core.logging import get_logger
from backend.features.auth.principal import Principal

LOOK_SECONDS = 30.0
"""How long other processes' changes may stay unseen; with the time of a query well within the promised minute."""

_ENDED = "your access was ended while this was answered; log in again, or ask whoever runs the gateway"
_log = get_logger(__name__)

Cut = Callable[[GatewayError], None]
"""Ends one answer with an error."""
Check = Callable[[frozenset[Principal]], Awaitable[Collection[Principal]]]
"""Asks a store, not a memory of it, which of these callers may call no more; says nothing of those it does not know."""


class RunningCalls:
    """Keeps the requests that are being answered and cuts those of callers who may call no more."""

    def __init__(self, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._running: dict[Cut, Principal] = {}
        self._checks: list[Check] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ask(self, check: Check) -> None:
        """Let one more store say who may call no more."""
        self._checks.append(check)

    def track(self, principal: Principal, cut: Cut) -> Callable[[], object]:
        """Keep a request until the returned function is called."""
        self._running[cut] = principal
        return partial(self._running.pop, cut, None)

    def look(self) -> None:
        """Look at once: somebody's access has changed in this process."""
        self._changed.set()

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._keep_looking(), name="look at running calls")

    async def aclose(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_looking(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: told to look and to stop at once, it forgets that it was to stop.
                async with asyncio.timeout(self._look_seconds):
                    await self._changed.wait()
            self._changed.clear()
            await self._cut_ended()

    async def _cut_ended(self) -> None:
        callers, ended = frozenset(self._running.values()), set[Principal]()
        for check in self._checks if callers else ():
            try:
                ended.update(await check(callers))
            except GatewayError as error:  # the store is away; it is asked again in half a minute
                _log.warning("running_calls_not_checked", reason=error.message)
            except Exception:  # noqa: BLE001 (looking goes on)
                _log.exception("running_calls_not_checked_unexpectedly")
        for cut, principal in list(self._running.items()):
            if principal in ended:
                cut(NotAuthenticated(_ENDED))
