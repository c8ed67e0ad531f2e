"""The queries of the ledger and of quotas."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.pages import Page, PageQuery
from backend.features.accounts.models import User
from backend.features.keys.models import ApiKey
from backend.features.usage.models import OPEN, QuotaWindow, UsageEntry, UserQuota

GroupBy = Literal["day", "model", "agent", "key", "user"]

_COLUMNS: Mapping[GroupBy, Any] = {
    "day": UsageEntry.day,
    "model": UsageEntry.model,
    "agent": UsageEntry.agent_id,
    "key": UsageEntry.key_id,
    "user": UsageEntry.user_id,
}
_KEY = "key-"


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which requests are summed up: those that began in `[since, until)`, of one user or of all."""

    since: datetime
    until: datetime
    user_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """What requests used together."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    """In millionths of the currency that was asked for."""
    unpriced: int = 0
    """Requests without a price in that currency."""


@dataclass(frozen=True, slots=True)
class Group:
    """The sums of one day, model, agent, key or user."""

    group: str
    label: str
    sums: Sums


class UsageEntries:
    """Sums up the ledger, and finds what must be tidied up in it."""

    async def totals(self, session: AsyncSession, wanted: UsageFilter, currency: str) -> Sums:
        """Return the sums of everything that matches."""
        row = (await session.execute(select(*_sums(currency)).where(*_matching(wanted)))).one()
        return _read_sums(row)

    async def groups(
        self, session: AsyncSession, wanted: UsageFilter, group_by: GroupBy, currency: str, query: PageQuery
    ) -> Page[Group]:
        """Return a piece of the groups: days newest first, others by the tokens they used."""
        column = _COLUMNS[group_by]
        label = func.max(UsageEntry.model)
        grouped = select(column, label, *_sums(currency)).where(*_matching(wanted)).group_by(column)
        tokens = func.sum(UsageEntry.prompt_tokens + UsageEntry.completion_tokens)
        ordered = grouped.order_by(column.desc()) if group_by == "day" else grouped.order_by(tokens.desc(), column)
        total = await session.scalar(select(func.count()).select_from(grouped.order_by(None).subquery()))
        rows = (await session.execute(ordered.offset(query.skip).limit(query.limit))).all()
        labels = await self._labels(session, group_by, rows)
        groups = [Group(_text(row[0]), labels.get(row[0], _text(row[0])), _read_sums(row[2:])) for row in rows]
        return Page(groups, total or 0, query.skip, query.limit)

    async def open_before(self, session: AsyncSession, before: datetime, limit: int) -> Sequence[UsageEntry]:
        """Return requests that began before some time and whose end nobody has told."""
        statement = select(UsageEntry).where(UsageEntry.status == OPEN, UsageEntry.at < before)
        return (await session.scalars(statement.order_by(UsageEntry.at).limit(limit))).all()

    async def remove_before(self, session: AsyncSession, before: datetime, limit: int) -> int:
        """Remove some of the requests that ended and began before some time; return how many."""
        old = select(UsageEntry.id).where(UsageEntry.at < before, UsageEntry.status != OPEN).limit(limit)
        return await _changed(session, delete(UsageEntry).where(UsageEntry.id.in_(old)))

    async def clear_erased(self, session: AsyncSession) -> int:
        """Take from the requests of erased users what leads to them; return how many."""
        erased = (UsageEntry.of_account.is_(True), UsageEntry.user_id.is_(None))
        values = {
            "of_account": False,
            "key_id": None,
            "agent_id": None,
            "request_id": "",
            "model": case((UsageEntry.agent_id.is_(None), UsageEntry.model), else_=UsageEntry.backend_model),
        }
        return await _changed(session, update(UsageEntry).where(*erased).values(values))

    async def _labels(self, session: AsyncSession, group_by: GroupBy, rows: Sequence[Any]) -> dict[Any, str]:
        """Return how people know the groups."""
        found = [row[0] for row in rows if row[0] is not None]
        if group_by == "agent":
            return {row[0]: row[1] for row in rows if row[0] is not None}
        if group_by == "user":
            users = await session.execute(select(User.id, User.email).where(User.id.in_(found)))
            return {row.id: row.email for row in users}
        if group_by == "key":
            ids = {uuid.UUID(key[len(_KEY) :]): key for key in found if key.startswith(_KEY)}
            keys = await session.execute(select(ApiKey.id, ApiKey.name).where(ApiKey.id.in_(ids)))
            return {ids[row.id]: row.name for row in keys}
        return {}


class UserQuotas:
    """What administrators said about single users."""

    async def everything(self, session: AsyncSession) -> dict[uuid.UUID, int | None]:
        """Return the limits of all users who have one of their own."""
        rows = await session.execute(select(UserQuota.user_id, UserQuota.tokens_per_day))
        return {row.user_id: row.tokens_per_day for row in rows}

    async def get(self, session: AsyncSession, user_id: uuid.UUID) -> UserQuota | None:
        """Return what was said about a user."""
        return await session.get(UserQuota, user_id)

    async def is_user(self, session: AsyncSession, user_id: uuid.UUID) -> bool:
        """Whether there is such a user."""
        return await session.get(User, user_id) is not None

    async def put(self, session: AsyncSession, user_id: uuid.UUID, tokens_per_day: int | None) -> None:
        """Say something about a user, instead of what was said before."""
        known = await self.get(session, user_id)
        if known is None:
            session.add(UserQuota(user_id=user_id, tokens_per_day=tokens_per_day))
        else:
            known.tokens_per_day = tokens_per_day
        await session.flush()

    async def remove(self, session: AsyncSession, user_id: uuid.UUID) -> bool:
        """Let a user have what every user has; return whether something was said before."""
        return bool(await _changed(session, delete(UserQuota).where(UserQuota.user_id == user_id)))


class QuotaWindows:
    """What was used of quotas."""

    async def get(self, session: AsyncSession, subject: str, day: date) -> tuple[int, int]:
        """Return what is spent and held back of a quota on a day."""
        found = await session.get(QuotaWindow, (subject, day))
        return (0, 0) if found is None else (found.spent, found.reserved)

    async def remove_before(self, session: AsyncSession, day: date) -> int:
        """Remove the windows of days long past."""
        return await _changed(session, delete(QuotaWindow).where(QuotaWindow.day < day))


def _matching(wanted: UsageFilter) -> list[ColumnElement[bool]]:
    conditions = [UsageEntry.at >= wanted.since, UsageEntry.at < wanted.until]
    return conditions if wanted.user_id is None else [UsageEntry.user_id == wanted.user_id, *conditions]


def _sums(currency: str) -> list[ColumnElement[Any]]:
    is_priced = UsageEntry.currency == currency
    return [
        func.count(),
        func.coalesce(func.sum(UsageEntry.prompt_tokens), 0),
        func.coalesce(func.sum(UsageEntry.completion_tokens), 0),
        func.coalesce(func.sum(case((is_priced, UsageEntry.cost), else_=0)), 0),
        func.coalesce(func.sum(case((is_priced, 0), else_=1)), 0),
    ]


def _read_sums(row: Any) -> Sums:
    return Sums(*(int(value) for value in row))


def _text(value: object) -> str:
    return "" if value is None else str(value)


async def _changed(session: AsyncSession, statement: Any) -> int:
    result: Any = await session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)
