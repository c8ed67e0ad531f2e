"""Hands the routes their services."""

from typing import Annotated

from fastapi import Depends, Request

from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.models import Models
from backend.web.body import BodyLimits


async def _inference(request: Request) -> Inference:
    service: Inference = request.state.container.inference
    return service


async def _models(request: Request) -> Models:
    service: Models = request.state.container.models
    return service


async def _body_limits(request: Request) -> BodyLimits:
    limits: BodyLimits = request.state.container.body_limits
    return limits


InferenceDep = Annotated[Inference, Depends(_inference)]
ModelsDep = Annotated[Models, Depends(_models)]
LimitsDep = Annotated[BodyLimits, Depends(_body_limits)]
