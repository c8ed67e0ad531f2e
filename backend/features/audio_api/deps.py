"""Hands the route its service."""

from dataclasses import dataclass

from fastapi import Request

from backend.features.audio_api.service import Transcriptions
from backend.web.body import BodyLimits

FORM_BYTES = 2**20
"""What a form may hold beside its audio file."""


@dataclass(frozen=True, slots=True)
class AudioApi:
    """What the route of this feature works with."""

    transcriptions: Transcriptions
    limits: BodyLimits


def audio_api(request: Request) -> AudioApi:
    """Return the services of a request; a plain call, because a dependency costs CPU on every request."""
    api: AudioApi = request.state.container.audio_api
    return api
