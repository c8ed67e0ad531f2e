"""How many tokens are held back for a request before anybody knows how many it takes."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from backend.core.errors import InvalidRequest, QuotaExceeded
from backend.features.generation.record import AnyRequest
from backend.features.usage.entries import MAX_TOKENS, Limit, Refusal
from backend.llm.presets import Preset
from backend.llm.types import EmbedRequest, TranscriptionRequest

_WHOSE = {"key": "this key", "user": "your account"}


def answer_bound(request: AnyRequest, preset: Preset | None) -> int | None:
    """Return how many tokens an answer has at most; None when neither caller nor agent says."""
    if isinstance(request, EmbedRequest):
        return 0
    if isinstance(request, TranscriptionRequest):
        return None
    own = request.sampling.max_tokens
    return preset.sampling.max_tokens if own is None and preset is not None else own


def reservation(estimate: int, bound: int | None, limits: Sequence[Limit], default: int) -> int:
    """Return the tokens to hold back: the prompt as guessed, and the longest answer.

    Where nobody bounds the answer it counts as `default` tokens, or fewer where a limit leaves less beside the prompt.
    Raises `InvalidRequest` for a request that no day has room for.
    """
    limit = min(limits, key=lambda each: each.tokens)
    answer = min(default, max(limit.tokens - estimate, 0)) if bound is None else bound
    if estimate + answer > limit.tokens:
        raise InvalidRequest(_too_large(limit, estimate, answer))
    return min(estimate + answer, MAX_TOKENS)


def exceeded(refusal: Refusal, needed: int, now: datetime) -> QuotaExceeded:
    """Return what the caller of a refused request is told."""
    limit = refusal.limit
    wait = (end_of_day(now) - now).total_seconds()
    minutes = math.ceil(wait / 60)
    held = f" and {refusal.reserved:,} held for running requests" if refusal.reserved else ""
    return QuotaExceeded(
        f"the quota of {_WHOSE[limit.whose]}, {limit.tokens:,} tokens a day, has no room for this request: "
        f"{refusal.spent:,} used{held}, about {needed:,} needed; it begins anew at 00:00 UTC, in "
        f"{minutes // 60} h {minutes % 60} min",
        retry_after=max(wait, 1.0),
    )


def end_of_day(now: datetime) -> datetime:
    """Return when the windows of today end."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def _too_large(limit: Limit, estimate: int, answer: int) -> str:
    told = f"the quota of {_WHOSE[limit.whose]} is {limit.tokens:,} tokens a day, and this request may take "
    if estimate > limit.tokens or not answer:
        return f"{told}about {estimate:,} to read alone: shorten it, or ask an administrator for a larger quota"
    return (
        f"{told}{estimate + answer:,}: about {estimate:,} to read and up to {answer:,} to write; shorten it, or ask "
        "for a shorter answer"
    )
