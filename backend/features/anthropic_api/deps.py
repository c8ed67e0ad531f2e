"""Hands the routes their services."""

from dataclasses import dataclass

from fastapi import Request

from backend.features.anthropic_api.service import Messages
from backend.web.body import BodyLimits


@dataclass(frozen=True, slots=True)
class AnthropicApi:
    """What the routes of this feature work with."""

    messages: Messages
    limits: BodyLimits


def anthropic_api(request: Request) -> AnthropicApi:
    """Return the services of a request; a plain call, because a dependency costs CPU on every request."""
    api: AnthropicApi = request.state.container.anthropic_api
    return api
