"""Hands the routes their services."""

from dataclasses import dataclass

from fastapi import Request

from backend.features.openai_api.inference import Inference
from backend.features.openai_api.models import Models
from backend.web.body import BodyLimits


@dataclass(frozen=True, slots=True)
class OpenAIApi:
    """What the routes of this feature work with."""

    inference: Inference
    models: Models
    limits: BodyLimits


def openai_api(request: Request) -> OpenAIApi:
    """Return the services of a request; a plain call, because a dependency costs CPU on every request."""
    api: OpenAIApi = request.state.container.openai_api
    return api
