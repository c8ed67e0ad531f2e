"""Keeps every request of the pipeline in the ledger, and refuses those that a quota has no room for."""

from collections.abc import Callable
from datetime import datetime

from backend.core.db.tables import utc_now
from backend.core.metrics import QUOTA_REFUSALS
from backend.features.generation.record import Answered, Asked
from backend.features.usage.entries import MAX_TOKENS, Entry, Settle
from backend.features.usage.ledger import Ledger, Written
from backend.features.usage.limits import Limits
from backend.features.usage.prices import PriceList
from backend.features.usage.reservation import answer_bound, exceeded, reservation
from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest, TranscriptionRequest

_KINDS = {
    ChatRequest: "chat",
    CompletionRequest: "completion",
    EmbedRequest: "embed",
    TranscriptionRequest: "transcription",
}
_MAX_NAME, _MAX_ID = 600, 64


class UsageRecorder:
    """A `Recorder`: asked once for each request, told once how it ended.

    Args:
        ledger: writes it down.
        limits: knows the quotas of callers.
        prices: what it costs.
        answer_tokens: what an answer counts as beforehand, when nobody bounds it.
        keeps_all: whether requests are kept that no quota counts.
        now: the time, with its zone.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: Limits,
        prices: PriceList,
        *,
        answer_tokens: int,
        keeps_all: bool = True,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.ledger = ledger
        self.prices = prices
        self.now = now
        self._limits = limits
        self._answer_tokens = answer_tokens
        self._keeps_all = keeps_all

    def begin(self, asked: Asked) -> "UsageRecord | None":
        """Begin to write a request down; raise `InvalidRequest` for what no day of a quota has room for."""
        limits = self._limits.of(asked.context.principal)
        if not limits:
            if not self._keeps_all:
                return None
            record = UsageRecord(self, self._entry(asked), _priced_as(asked))
            record.written = self.ledger.begin(record.entry)
            return record
        entry = self._entry(asked)
        bound = _within_context(answer_bound(asked.request, asked.model.preset), asked)
        entry.limits, entry.reserved = limits, reservation(entry.estimate, bound, limits, self._answer_tokens)
        record = UsageRecord(self, entry, _priced_as(asked))
        asked.admission = record.written = self.ledger.reserve(entry)
        return record

    def _entry(self, asked: Asked) -> Entry:
        principal, preset = asked.context.principal, asked.model.preset
        return Entry(
            at=self.now(),
            kind=_KINDS[type(asked.request)],
            model=asked.model.name.short,
            user_id=principal.user_id,
            key_id=principal.key_id,
            agent_id=None if preset is None else preset.preset_id,
            request_id=asked.context.request_id[:_MAX_ID],
            estimate=asked.estimate(),
            of_account=principal.user_id is not None,
        )


class UsageRecord:
    """A `Record` of one request."""

    __slots__ = ("_is_refused", "_names", "_recorder", "entry", "wants_text", "written")

    def __init__(self, recorder: UsageRecorder, entry: Entry, names: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._names = names
        self.entry = entry
        self.wants_text = False
        self.written: Written | None = None
        """What becomes of the beginning; None when the store takes no more."""
        self._is_refused = False

    async def begun(self) -> None:
        """See `Record.begun`: only callers with a quota wait for the store.

        Raises `QuotaExceeded`, and `StoreUnavailable` when the quota cannot be checked.
        """
        entry = self.entry
        if not entry.limits or self.written is None:
            return
        refusal = await self._recorder.ledger.reserved(self.written)
        if refusal is not None:
            self._is_refused = True
            QUOTA_REFUSALS.labels(refusal.limit.whose).inc()
            raise exceeded(refusal, entry.reserved, entry.at)

    def finish(self, answered: Answered) -> None:
        """Charge what was used. Nobody waits for the store: should it not come there, the request counts as lost.

        Where nobody knows whether the beginning was written, it ends here if it was.
        """
        if self._is_refused:
            return
        recorder, entry, usage = self._recorder, self.entry, answered.usage
        prompt = _count(entry.estimate if usage.prompt_tokens is None else usage.prompt_tokens)
        completion = _count(usage.completion_tokens or 0)
        cost = recorder.prices.cost((*self._names, answered.model_id), prompt, completion)
        first = answered.first_token_seconds
        recorder.ledger.settle(
            Settle(
                entry,
                answered.outcome,
                prompt,
                completion,
                recorder.now(),
                answered.backend,
                _storable(answered.model_id),
                cost,
                "" if cost is None else recorder.prices.currency,
                round(answered.seconds * 1000),
                None if first is None else round(first * 1000),
                is_written=bool(entry.limits) or _is_written(self.written),
                may_insert=not entry.limits,
            )
        )


def _is_written(written: Written | None) -> bool:
    """Whether a beginning is known to be in the store."""
    return written is not None and written.done() and not written.cancelled() and written.exception() is None


def _count(tokens: int) -> int:
    return min(max(tokens, 0), MAX_TOKENS)


def _storable(name: str) -> str:
    """Return a name of an upstream's as every store takes it."""
    if name.isascii() and name.isprintable():
        return name[:_MAX_NAME]
    return name.encode("utf-8", "replace").decode().replace("\0", "")[:_MAX_NAME]


def _priced_as(asked: Asked) -> tuple[str, ...]:
    """Return the names under which a price may be found: an agent's own, then its base."""
    preset = asked.model.preset
    return (asked.model.name.short,) if preset is None else (asked.model.name.short, preset.base.short)


def _within_context(bound: int | None, asked: Asked) -> int | None:
    """Return how long an answer can be: no model writes more than its context holds."""
    context = asked.model.info.context_length
    return bound if bound is None or not context else min(bound, context)
