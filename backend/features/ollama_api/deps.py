"""Hands the routes their services."""

from dataclasses import dataclass

from fastapi import Request

from backend.features.ollama_api.agent_verbs import AgentVerbs
from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.management import Management
from backend.features.ollama_api.models import Models
from backend.web.body import BodyLimits


@dataclass(frozen=True, slots=True)
class OllamaApi:
    """What the routes of this feature work with."""

    inference: Inference
    models: Models
    management: Management
    verbs: AgentVerbs
    limits: BodyLimits
    blob_bytes: int
    """Size of one uploaded file."""


def ollama_api(request: Request) -> OllamaApi:
    """Return the services of a request; a plain call, because a dependency costs CPU on every request."""
    api: OllamaApi = request.state.container.ollama_api
    return api
