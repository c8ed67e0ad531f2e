"""What everybody used, and the quotas of users."""

import uuid
from typing import Literal

from fastapi import APIRouter, Request, Response

from backend.features.audit.deps import caller_of
from backend.features.auth.policies import permitted
from backend.features.auth.principal import Permission
from backend.features.usage.deps import CSV_HEADS, From, To, csv_rows, report_reply, usage_of
from backend.features.usage.repository import GroupBy
from backend.features.usage.schemas import QuotaRead, QuotaWrite, UsageReport
from backend.features.usage.service import UsersQuota
from backend.web.csv import CsvResponse
from backend.web.side_api import Paging, SideRoute

router = APIRouter(prefix="/api/v1/admin", tags=["administration"], route_class=SideRoute)

READERS = permitted(Permission.READ_USAGE)
MANAGERS = permitted(Permission.MANAGE_USERS)


@router.get(
    "/usage",
    response_model=UsageReport,
    dependencies=[READERS],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def all_usage(
    request: Request,
    paging: Paging,
    group_by: GroupBy = "day",
    since: From = None,
    until: To = None,
    user_id: uuid.UUID | None = None,
    format: Literal["json", "csv"] = "json",  # noqa: A002 (the parameter's name)
) -> dict[str, object] | Response:
    """Sum up what everybody used, by day, model, agent, key or user; as CSV it is a file with all groups."""
    usage = usage_of(request)
    period = usage.period(since, until)
    if format == "csv":
        rows = csv_rows(usage.all_groups(period, group_by, user_id), usage.currency)
        return CsvResponse(CSV_HEADS, rows, f"usage-{period.since}-{period.until}.csv")
    return report_reply(await usage.report(period, group_by, paging, user_id), paging)


@router.get("/quotas/{user_id}", dependencies=[MANAGERS], response_model=QuotaRead)
async def read_quota(request: Request, user_id: uuid.UUID) -> UsersQuota:
    """Tell what a user may use in a day, and how that stands."""
    return await usage_of(request).quota(user_id)


@router.put("/quotas/{user_id}", dependencies=[MANAGERS], response_model=QuotaRead)
async def write_quota(request: Request, user_id: uuid.UUID, body: QuotaWrite) -> UsersQuota:
    """Say what a user may use in a day, whatever every user has."""
    return await usage_of(request).put_quota(caller_of(request), user_id, body.tokens_per_day)


@router.delete("/quotas/{user_id}", dependencies=[MANAGERS], status_code=204)
async def remove_quota(request: Request, user_id: uuid.UUID) -> None:
    """Let a user have what every user has."""
    await usage_of(request).remove_quota(caller_of(request), user_id)
