"""The backends, for those who may look at them."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from fastapi import APIRouter, Request

from backend.core.db.pages import Page
from backend.features.auth.policies import permitted
from backend.features.auth.principal import OPERATOR, Permission
from backend.features.catalog.backends import CircuitState
from backend.features.catalog.service import CatalogService
from backend.web.side_api import PageReply, Paging, Reply, SideRoute, page_reply

_STATES: Mapping[CircuitState, Literal["ok", "resting", "probing"]] = {
    "closed": "ok",
    "open": "resting",
    "half-open": "probing",
}
"""What operators call the states of a circuit breaker."""

router = APIRouter(
    prefix="/api/v1/admin/backends",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.READ_BACKENDS)],
)


class BackendRead(Reply):
    """One configured backend and how it is."""

    name: str
    kind: str
    state: Literal["ok", "resting", "probing"]
    """`resting` while it is left alone after failures, `probing` when the next request tries whether it is back."""
    last_error: str
    models: int
    in_flight: int


@router.get("", response_model=PageReply[BackendRead])
async def list_backends(request: Request, paging: Paging) -> dict[str, object]:
    """List the configured backends, whether they are well, and how many models each offers."""
    catalog: CatalogService = request.state.container.catalog
    counts = Counter(
        candidate.backend.name for model in await catalog.models(OPERATOR) for candidate in model.candidates
    )
    items = [
        BackendRead(
            name=backend.name,
            kind=backend.kind,
            state=_STATES[backend.breaker.state],
            last_error=backend.last_error,
            models=counts[backend.name],
            in_flight=backend.in_flight,
        )
        for backend in catalog.backends
    ]
    shown = items[paging.skip : paging.skip + paging.limit]
    return page_reply(BackendRead, Page(shown, len(items), paging.skip, paging.limit))
