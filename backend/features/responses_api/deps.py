"""Hands the route its service."""

from dataclasses import dataclass

from fastapi import Request

from backend.features.responses_api.service import Responses
from backend.web.body import BodyLimits


@dataclass(frozen=True, slots=True)
class ResponsesApi:
    """What the route of this feature works with."""

    responses: Responses
    limits: BodyLimits


def responses_api(request: Request) -> ResponsesApi:
    """Return the services of a request; a plain call, because a dependency costs CPU on every request."""
    api: ResponsesApi = request.state.container.responses_api
    return api
