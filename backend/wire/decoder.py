"""What the readers of upstream answers share: feeding bytes, keeping a failure until what came before it is told."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from backend.llm.errors import ProviderError, ProviderProtocolError
from backend.llm.events import ChatEvent
from backend.wire.framing import EventSplitter, LineSplitter


class Decoder(ABC):
    """Turns the bytes of one answer into events; fed in any pieces, it gives the same events.

    When a payload fails after others in the same read were fine, `feed` returns what was fine and keeps the error in
    `failure`, which the caller raises next: nothing the model said is lost.
    """

    def __init__(self, backend: str, split: LineSplitter | EventSplitter) -> None:
        self.backend = backend
        self.finished = False
        """Whether the answer is complete; what follows is passed over."""
        self.begun = False
        """Whether the upstream has said anything in this format, even if no event has come of it yet."""
        self.failure: ProviderError | None = None
        self._split = split

    def feed(self, data: bytes) -> list[ChatEvent]:
        """Return the events these bytes complete; raise `ProviderError` when the first of them is a failure."""
        return self._read_all(self._split.feed(data))

    def close(self) -> list[ChatEvent]:
        """Take the end of the body; raise `ProviderProtocolError` when the answer was not complete."""
        events = self._read_all(self._split.close())
        if not self.finished and self.failure is None:
            self.end(events)
        return events

    @abstractmethod
    def read(self, payload: bytes, events: list[ChatEvent]) -> None:
        """Append the events of one payload."""

    @abstractmethod
    def end(self, events: list[ChatEvent]) -> None:
        """Finish an answer whose body ended without its mark, or raise."""

    def ended_early(self) -> ProviderProtocolError:
        """Return the error for an answer that was cut."""
        return ProviderProtocolError(f"backend {self.backend!r} ended its answer early; try again")

    def unreadable(self) -> ProviderProtocolError:
        """Return the error for an answer that is not in this format."""
        return ProviderProtocolError(f"backend {self.backend!r} sent an unreadable answer; try again")

    def _read_all(self, payloads: Iterable[bytes]) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        try:
            for payload in payloads:
                if not self.finished:
                    self.read(payload, events)
                    self.begun = True
        except ProviderError as error:
            if not events:
                raise
            self.failure = error
        return events
