"""The way of requests into the store: beginnings that may be refused, and ends that outlive a store that is away.

What the store does not take waits in memory, bounded, and is tried again. Nothing here holds up an answer.
"""

import asyncio
from collections import deque
from dataclasses import replace
from functools import partial

from backend.core.db.group_commit import UNHURRIED, GroupCommit
from backend.core.errors import Conflict, GatewayError, NotAuthenticated, Overloaded, StoreUnavailable
from backend.core.logging import get_logger
from backend.core.metrics import LEDGER_SPOOL
from backend.features.usage.entries import Begin, Entry, Refusal, Settle
from backend.features.usage.writer import write

_log = get_logger(__name__)

MAX_SPOOL = 10_000
_BATCH = 256
_RESERVE_SECONDS = 10.0
_SILENT = "the gateway's database does not answer, and your quota cannot be checked without it; try again"
_ENDED = "your access was ended; log in again, or ask whoever runs the gateway"

Written = asyncio.Future[Refusal | None]


class Ledger:
    """Writes requests down; see the module.

    Args:
        commits: writes of all requests together.
        max_spool: ends that may wait in memory; the oldest are given up first.
    """

    def __init__(self, commits: GroupCommit, max_spool: int = MAX_SPOOL) -> None:
        self._commits = commits
        self._spool: deque[Settle] = deque()
        self._max_spool = max_spool
        self._has_spooled = asyncio.Event()

    @property
    def spooled(self) -> int:
        """How many ends wait for the store."""
        return len(self._spool)

    def begin(self, entry: Entry) -> Written | None:
        """Let a request without quotas be written down soon; None when the store takes no more."""
        try:
            return self._commits.write(write, Begin(entry), linger=UNHURRIED)
        except Overloaded:
            return None

    def reserve(self, entry: Entry) -> Written:
        """Write a request down and hold its tokens back; what becomes of it is told by `reserved`.

        Raises `Overloaded` when the store takes no more. Whoever does not wait for the end must settle the request.
        """
        return self._commits.write(write, Begin(entry), is_durable=False, patience=_RESERVE_SECONDS)

    async def reserved(self, written: Written) -> Refusal | None:
        """Wait until a request is written down; return why it cannot be.

        Raises `StoreUnavailable` or `Overloaded` when that could not be written, so that nothing is answered
        uncounted, and `NotAuthenticated` when its user is erased.
        """
        try:
            return await written
        except Conflict:
            raise NotAuthenticated(_ENDED) from None
        except StoreUnavailable as error:
            raise StoreUnavailable(_SILENT, retry_after=error.retry_after) from error

    def settle(self, end: Settle, *, linger: float = UNHURRIED) -> Written | None:
        """Write down how a request ended; it is under way when this returns, whoever waits for the result or not.

        None when the store takes no more: then it is tried again later.
        """
        try:
            return self._commits.write(write, end, linger=linger, told=partial(self._check, end))
        except Overloaded:
            self._keep(end)
            return None

    async def retry(self) -> None:
        """Try again to write what waits; stop at the first batch that the store does not take."""
        while self._spool:
            ends = [self._spool.popleft() for _ in range(min(len(self._spool), _BATCH))]
            try:
                written = [self._commits.write(write, end) for end in ends]
            except Overloaded:
                self._spool.extendleft(reversed(ends))
                return
            results = await asyncio.gather(*written, return_exceptions=True)
            waiting = len(self._spool)
            for end, result in zip(ends, results, strict=True):
                if isinstance(result, BaseException):
                    self._failed(end, result)
            LEDGER_SPOOL.set(len(self._spool))
            if len(self._spool) > waiting:
                return

    def _check(self, end: Settle, _: None, error: Exception | None) -> None:
        if error is not None:
            self._failed(end, error)

    def _failed(self, end: Settle, error: BaseException) -> None:
        """Keep an end for later, unless trying again cannot help."""
        if isinstance(error, Conflict) and end.entry.user_id is not None:
            end.entry.anonymise()  # its user was removed meanwhile
            self._keep(replace(end, may_insert=not end.entry.limits))
        elif isinstance(error, StoreUnavailable | Overloaded):
            self._keep(end)
        else:
            reason = error.message if isinstance(error, GatewayError) else type(error).__name__
            _log.error("ledger_entry_unwritable", entry=str(end.entry.id), reason=reason)

    def _keep(self, end: Settle) -> None:
        if not self._spool:
            _log.warning("ledger_waits_for_the_database")
        if len(self._spool) >= self._max_spool:
            given_up = self._spool.popleft()
            _log.error("ledger_entry_given_up", entry=str(given_up.entry.id))
        self._spool.append(replace(end, is_written=False))
        LEDGER_SPOOL.set(len(self._spool))
