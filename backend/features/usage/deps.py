"""What the routes of use work with."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Query, Request

from backend.core.db.pages import PageQuery
from backend.features.usage.housekeeping import Housekeeping
from backend.features.usage.prices import amount
from backend.features.usage.recorder import UsageRecorder
from backend.features.usage.repository import Group, Sums
from backend.features.usage.schemas import GroupRead, SumsRead
from backend.features.usage.service import Report, UsageService

From = Annotated[date | None, Query(alias="from", description="The first day (UTC); 29 days before the last one.")]
To = Annotated[date | None, Query(alias="to", description="The last day (UTC); today.")]

CSV_HEADS = (
    *("group", "label", "requests", "prompt_tokens", "completion_tokens", "cost", "currency", "unpriced_requests"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """The services of use, and what records requests for them."""

    reports: UsageService
    recorder: UsageRecorder
    housekeeping: Housekeeping


def usage_of(request: Request) -> UsageService:
    """Return the service."""
    usage: Usage = request.state.container.usage
    return usage.reports


def report_reply(report: Report, query: PageQuery) -> dict[str, object]:
    """Return a report in the form of `UsageReport`."""
    return {
        "since": report.period.since,
        "until": report.period.until,
        "currency": report.currency,
        "totals": SumsRead.model_validate(_sums(report.totals)),
        "items": [
            GroupRead.model_validate({"group": group.group, "label": group.label, **_sums(group.sums)})
            for group in report.groups.items
        ],
        "total": report.groups.total,
        "skip": query.skip,
        "limit": query.limit,
    }


async def csv_rows(pieces: AsyncIterator[list[Group]], currency: str) -> AsyncIterator[Iterable[Sequence[object]]]:
    """Yield groups as the rows of a table with `CSV_HEADS`."""
    async for groups in pieces:
        yield [csv_row(group, currency) for group in groups]


def csv_row(group: Group, currency: str) -> Sequence[object]:
    """Return one group as the cells of a row."""
    sums = group.sums
    counts = (sums.requests, sums.prompt_tokens, sums.completion_tokens)
    return (group.group, group.label, *counts, amount(sums.cost), currency, sums.unpriced)


def _sums(sums: Sums) -> dict[str, object]:
    return {
        "requests": sums.requests,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "cost": amount(sums.cost),
        "unpriced_requests": sums.unpriced,
    }
