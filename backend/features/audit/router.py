"""The audit log for those who may read it."""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator

from backend.features.audit.deps import audit_of
from backend.features.audit.repository import AuditFilter
from backend.features.audit.service import AuditView
from backend.features.auth.policies import permitted
from backend.features.auth.principal import Permission
from backend.web.side_api import PageReply, Paging, Reply, SideRoute, page_reply

router = APIRouter(
    prefix="/api/v1/admin/audit",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.READ_AUDIT)],
)


class AuditEntryRead(Reply):
    """One thing somebody did."""

    id: uuid.UUID
    at: datetime
    actor: str
    actor_email: str | None = None
    """Null for one without an account, or whose account is gone."""
    action: str
    object_type: str
    object_id: str
    owner_id: uuid.UUID | None
    request_id: str
    details: dict[str, Any]


def _with_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Since = Annotated[datetime, AfterValidator(_with_zone)]
Word = Annotated[str, Query(max_length=100)]


@router.get("", response_model=PageReply[AuditEntryRead])
async def list_entries(
    request: Request,
    paging: Paging,
    actor: Annotated[str | None, Query(max_length=254, description="As an entry has it, or an email.")] = None,
    action: Word | None = None,
    object_id: Annotated[str | None, Query(alias="object", max_length=100)] = None,
    since: Since | None = None,
) -> dict[str, object]:
    """List what was done, newest first."""
    wanted = AuditFilter(actor, action, object_id, since)
    page = await audit_of(request).page(wanted, paging)
    return page_reply(AuditEntryRead, page.of(_read))


def _read(view: AuditView) -> AuditEntryRead:
    return AuditEntryRead.model_validate(view.entry).model_copy(update={"actor_email": view.actor_email})
