"""Reports of what was used, and the quotas of users."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from backend.core.db.database import Database
from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import InvalidRequest, NotFound
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Principal
from backend.features.usage.limits import Limits, user_subject
from backend.features.usage.repository import Group, GroupBy, QuotaWindows, Sums, UsageEntries, UsageFilter, UserQuotas
from backend.features.usage.reservation import end_of_day

_DEFAULT_DAYS = 30
_MOST_DAYS = 3_700
_PIECE = 1_000


@dataclass(frozen=True, slots=True)
class Period:
    """Days in UTC, both of them included."""

    since: date
    until: date


@dataclass(frozen=True, slots=True)
class Standing:
    """How a quota stands."""

    limit: int
    spent: int
    reserved: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What was used in a period."""

    period: Period
    currency: str
    totals: Sums
    groups: Page[Group]


@dataclass(frozen=True, slots=True)
class UsersQuota:
    """What a user may use in a day."""

    user_id: uuid.UUID
    tokens_per_day: int | None
    is_default: bool
    quota: Standing | None


class UsageService:
    """Sums up the ledger, and says what users may use."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        limits: Limits,
        currency: str,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.currency = currency
        self._database = database
        self._audit = audit
        self._limits = limits
        self._now = now
        self._entries = UsageEntries()
        self._windows = QuotaWindows()
        self._quotas = UserQuotas()

    def period(self, since: date | None, until: date | None) -> Period:
        """Return the period a caller asks for: the last thirty days unless they say more."""
        last = until or self._now().date()
        first = since or last - timedelta(days=min(_DEFAULT_DAYS - 1, (last - date.min).days))
        if first > last:
            raise InvalidRequest("'from' is later than 'to'; name the first day and the last one")
        if (last - first).days > _MOST_DAYS or last == date.max:
            raise InvalidRequest("ask for ten years at most")
        return Period(first, last)

    async def report(
        self, period: Period, group_by: GroupBy, query: PageQuery, user_id: uuid.UUID | None = None
    ) -> Report:
        """Return what a user, or everybody, used in a period."""
        wanted = _filter(period, user_id)
        async with self._database.reading() as reading:
            totals = await self._entries.totals(reading, wanted, self.currency)
            groups = await self._entries.groups(reading, wanted, group_by, self.currency, query)
        return Report(period, self.currency, totals, groups)

    async def all_groups(
        self, period: Period, group_by: GroupBy, user_id: uuid.UUID | None = None
    ) -> AsyncIterator[list[Group]]:
        """Yield all groups of a period, some at a time."""
        wanted, skip, total = _filter(period, user_id), 0, 1
        while skip < total:
            async with self._database.reading() as reading:
                query = PageQuery(skip, _PIECE)
                page = await self._entries.groups(reading, wanted, group_by, self.currency, query)
            yield list(page.items)
            skip, total = skip + _PIECE, page.total

    async def standing(self, user_id: uuid.UUID) -> Standing | None:
        """Return how the quota of a user stands; None when they have none."""
        return await self._standing(user_subject(user_id), self._limits.of_user(user_id))

    async def key_standing(self, principal: Principal) -> Standing | None:
        """Return how the quota of the key that asks stands; None when it has none."""
        return await self._standing(principal.key_id or "", principal.tokens_per_day)

    async def quota(self, user_id: uuid.UUID) -> UsersQuota:
        """Return what a user may use in a day; raise `NotFound` when there is none such."""
        async with self._database.reading() as reading:
            if not await self._quotas.is_user(reading, user_id):
                raise NotFound("there is no such user")
            own = await self._quotas.get(reading, user_id)
        tokens = self._limits.default if own is None else own.tokens_per_day
        return UsersQuota(user_id, tokens, own is None, await self._standing(user_subject(user_id), tokens))

    async def put_quota(self, caller: Caller, user_id: uuid.UUID, tokens_per_day: int | None) -> UsersQuota:
        """Say what a user may use in a day, at once here and within a minute in other processes."""
        async with self._database.transaction() as transaction:
            if not await self._quotas.is_user(transaction, user_id):
                raise NotFound("there is no such user")
            await self._quotas.put(transaction, user_id, tokens_per_day)
            details = {"tokens_per_day": tokens_per_day}
            await self._audit.record(transaction, caller, "quota.update", _subject(user_id), details)
        await self._limits.refresh()
        return await self.quota(user_id)

    async def remove_quota(self, caller: Caller, user_id: uuid.UUID) -> None:
        """Let a user have what every user has."""
        async with self._database.transaction() as transaction:
            if not await self._quotas.is_user(transaction, user_id):
                raise NotFound("there is no such user")
            if await self._quotas.remove(transaction, user_id):
                await self._audit.record(transaction, caller, "quota.remove", _subject(user_id))
        await self._limits.refresh()

    async def _standing(self, subject: str, limit: int | None) -> Standing | None:
        if limit is None:
            return None
        now = self._now()
        async with self._database.reading() as reading:
            spent, reserved = await self._windows.get(reading, subject, now.date())
        return Standing(limit, spent, reserved, end_of_day(now))


def _filter(period: Period, user_id: uuid.UUID | None) -> UsageFilter:
    since = datetime.combine(period.since, time(), UTC)
    until = datetime.combine(period.until + timedelta(days=1), time(), UTC)
    return UsageFilter(since, until, user_id)


def _subject(user_id: uuid.UUID) -> Subject:
    return Subject("quota", user_id, user_id)
