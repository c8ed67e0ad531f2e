"""Remembers which sessions are alive; see `auth.known`."""

import uuid
from dataclasses import dataclass

from backend.features.auth.known import Known
from backend.features.auth.principal import Principal


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A live session of an active user."""

    principal: Principal
    token_version: int


class KnownSessions(Known[uuid.UUID, KnownSession]):
    """Finds live sessions by their id."""
