"""Opens the ledger of use, with its quotas and prices."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from backend.core.config import Settings
from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.features.audit.service import AuditLog
from backend.features.usage.deps import Usage
from backend.features.usage.housekeeping import Housekeeping, Retention
from backend.features.usage.ledger import Ledger
from backend.features.usage.limits import Limits
from backend.features.usage.prices import Price, PriceList
from backend.features.usage.recorder import UsageRecorder
from backend.features.usage.service import UsageService


@contextlib.asynccontextmanager
async def open_usage(
    settings: Settings, database: Database, commits: GroupCommit, audit: AuditLog
) -> AsyncIterator[Usage]:
    """Yield the services of use; they look after themselves once they are started."""
    chosen = settings.usage
    limits = Limits(database, chosen.user_tokens_per_day)
    await limits.refresh()
    prices = PriceList({name: Price(p.input, p.output) for name, p in chosen.prices.items()}, chosen.currency)
    ledger = Ledger(commits)
    retention = Retention(_longest_answer(settings), chosen.retention_days)
    recorder = UsageRecorder(ledger, limits, prices, answer_tokens=chosen.answer_tokens, keeps_all=chosen.ledger)
    housekeeping = Housekeeping(database, ledger, limits, prices, retention)
    try:
        yield Usage(UsageService(database, audit, limits, chosen.currency), recorder, housekeeping)
    finally:
        await housekeeping.aclose()


def usage_reports(settings: Settings, database: Database) -> UsageService:
    """Return what reads the ledger, for who records nothing."""
    limits = Limits(database, settings.usage.user_tokens_per_day)
    return UsageService(database, AuditLog(database), limits, settings.usage.currency)


def _longest_answer(settings: Settings) -> timedelta:
    """Return how old a request under way can be, twice over; a settlement that comes later still counts."""
    return timedelta(seconds=2 * (settings.limits.queue_seconds + settings.timeouts.total_seconds))
