"""Hands the routes their services: one dependency, because each costs CPU on every request."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.models import Models
from backend.web.body import BodyLimits


@dataclass(frozen=True, slots=True)
class OllamaApi:
    """What the routes of this feature work with."""

    inference: Inference
    models: Models
    limits: BodyLimits


async def _ollama_api(request: Request) -> OllamaApi:
    api: OllamaApi = request.state.container.ollama_api
    return api


OllamaApiDep = Annotated[OllamaApi, Depends(_ollama_api)]
