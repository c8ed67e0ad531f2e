"""Hands the routes their services."""

from dataclasses import dataclass

from fastapi import Request

from backend.features.history.recorder import HistoryRecorder
from backend.features.history.service import HistoryService
from backend.features.history.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class History:
    """What the history is made of."""

    service: HistoryService
    upkeep: Upkeep
    recorder: HistoryRecorder | None
    """None where nothing is kept."""


def history_of(request: Request) -> HistoryService:
    """Return the service of chats."""
    history: History = request.state.container.history
    return history.service
