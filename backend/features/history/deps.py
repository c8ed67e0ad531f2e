"""Hands the routes their services."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from backend.features.history.following import Followers
from backend.features.history.recorder import HistoryRecorder
from backend.features.history.replies import Replies
from backend.features.history.sending import Sending
from backend.features.history.service import HistoryService
from backend.features.history.switches import Switches
from backend.features.history.telling import Teller
from backend.features.history.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class History:
    """What the history is made of."""

    service: HistoryService
    upkeep: Upkeep
    teller: Teller
    replies: Replies
    switches: Switches
    followers: Followers
    recorders: Sequence[HistoryRecorder]
    """None where nothing is kept, else one."""
    sending: Sending | None = None
    """There once the whole container is."""

    def start(self) -> None:
        """Begin to look after everything."""
        self.upkeep.start()
        self.teller.start()


def sending_of(request: Request) -> Sending:
    """Return what sends messages."""
    history: History = request.state.container.history
    if history.sending is None:
        raise RuntimeError("the container is not whole")
    return history.sending


def followers_of(request: Request) -> Followers:
    """Return what lets chats be followed."""
    history: History = request.state.container.history
    return history.followers


def history_of(request: Request) -> HistoryService:
    """Return the service of chats."""
    history: History = request.state.container.history
    return history.service
