"""What one used oneself."""

from typing import Literal

from fastapi import APIRouter, Request

from backend.core.errors import NotAuthenticated
from backend.features.auth.deps import principal_of
from backend.features.auth.policies import ACCOUNTS
from backend.features.usage.deps import From, To, report_reply, usage_of
from backend.features.usage.schemas import OwnUsageReport
from backend.web.side_api import Paging, SideRoute

router = APIRouter(prefix="/api/v1", tags=["usage"], route_class=SideRoute, dependencies=[ACCOUNTS])


@router.get("/usage", response_model=OwnUsageReport)
async def own_usage(
    request: Request,
    paging: Paging,
    group_by: Literal["day", "model", "agent", "key"] = "day",
    since: From = None,
    until: To = None,
) -> dict[str, object]:
    """Sum up what you used, by day, model, agent or key, and tell what you may still use today."""
    usage, principal = usage_of(request), principal_of(request)
    if principal.user_id is None:
        raise NotAuthenticated("log in first")
    report = await usage.report(usage.period(since, until), group_by, paging, principal.user_id)
    quotas = {
        "quota": await usage.standing(principal.user_id),
        "key_quota": await usage.key_standing(principal),
    }
    return {**report_reply(report, paging), **quotas}
