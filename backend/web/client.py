"""Notices when the client leaves, or stops reading, while we work for it; and when it may not go on.

Neither a plain handler nor a response class of our own is told by the server; both have to ask `receive`. One task per
request does that, and cancels the work it guards.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Self

from starlette.types import Receive

from backend.core.errors import ClientGone, GatewayError

Track = Callable[[Callable[[GatewayError], None]], Callable[[], object]]
"""Remembers how to cut a request, until what it returns is called."""


class ClientWatch:
    """Watches one client from after its body was read until the response is over.

    `guard` marks the work to cancel when it leaves. A write between `sending` and `sent` that takes longer than
    `stall_seconds` counts as leaving. `cut` ends the work from elsewhere. Whoever called `start` must call `stop`.
    """

    __slots__ = (
        *("_cut", "_guarded", "_loop", "_receive", "_sending_since", "_stall", "_task", "_timer", "_untrack", "gone"),
    )

    def __init__(self, receive: Receive, stall_seconds: float) -> None:
        self.gone = asyncio.Event()
        self._receive = receive
        self._stall = stall_seconds
        self._guarded: asyncio.Task[object] | None = None
        self._sending_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._cut: GatewayError | None = None
        self._untrack: Callable[[], object] | None = None

    def start(self, track: Track | None = None) -> Self:
        """Begin to watch; `track` is given `cut` and returns what forgets it."""
        if track is not None:
            self._untrack = track(self.cut)
        self._task = asyncio.create_task(self._wait(), name="watch client")
        return self

    def stop(self) -> None:
        """End watching."""
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._untrack is not None:
            self._untrack()

    def cut(self, error: GatewayError) -> None:
        """Cancel what runs inside `guard`, now or from now on, and raise this error there."""
        if self._cut is None:
            self._cut = error
            self._cancel()

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Cancel what runs inside when the client leaves or is cut, and raise `ClientGone` or the reason then."""
        task = asyncio.current_task()
        if (reason := self._reason()) is not None:
            raise reason
        self._guarded = task
        try:
            yield
        except asyncio.CancelledError:
            if (reason := self._reason()) is not None and task is not None and task.uncancel() == 0:
                raise reason from None
            raise
        finally:
            self._guarded = None

    def sending(self) -> None:
        """Note that a write begins, so that a client that stopped reading is noticed."""
        self._sending_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._stall, self._check_stall)

    def sent(self) -> None:
        """Note that the write is over."""
        self._sending_since = None

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.gone.set()
        self._cancel()

    def _reason(self) -> GatewayError | None:
        return ClientGone() if self.gone.is_set() else self._cut

    def _cancel(self) -> None:
        if self._guarded is not None:
            self._guarded.cancel()
            self._guarded = None

    def _check_stall(self) -> None:
        now = self._loop.time()
        due = (now if self._sending_since is None else self._sending_since) + self._stall
        if now >= due:
            self._leave()
        else:
            self._timer = self._loop.call_at(due, self._check_stall)
