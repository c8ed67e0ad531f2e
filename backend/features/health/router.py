"""Probes for containers and load balancers."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from backend.features.auth.deps import EVERYBODY
from backend.features.auth.principal import OPERATOR

router = APIRouter(tags=["health"], dependencies=[EVERYBODY])


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Say whether requests can be served: not before a model is known."""
    is_ready = bool(await request.state.container.catalog.models(OPERATOR))
    return JSONResponse({"status": "ready" if is_ready else "no models"}, 200 if is_ready else 503)
