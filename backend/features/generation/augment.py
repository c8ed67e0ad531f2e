"""What puts knowledge before a question, and how its sources get into the answer: the port of retrieval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from backend.features.generation.record import Asked
from backend.llm.events import ChatEvent, Finished, TextDelta
from backend.llm.grounding import Grounding, Source
from backend.llm.ports import EventStream
from backend.llm.types import ChatRequest


@dataclass(frozen=True, slots=True)
class Augmented:
    """A request with what it is to be answered from."""

    request: ChatRequest
    """Without `source`: it is no longer the caller's own."""
    grounding: Grounding
    has_footer: bool = False
    """Whether the sources also stand at the end of the answer's text."""


class Augmenter(Protocol):
    """Finds what a conversation should be answered from."""

    async def augment(self, asked: Asked, request: ChatRequest) -> Augmented | None:
        """Return the request with passages put before its question; None when this is not about knowledge at all.

        Asked once per conversation, after it has a place and before a backend is chosen, so it must be bounded in time.
        What cannot be searched is told in the grounding; `GatewayError` is raised only where documents are required,
        or where the caller named what is not there for them.

        Args:
            asked: the caller, the model, and the request as it came.
            request: the same with the preset applied.
        """
        ...


class GroundedStream:
    """An upstream's events with the grounding in the last one; implements `EventStream`."""

    def __init__(self, stream: EventStream, augmented: Augmented) -> None:
        self._stream = stream
        self._augmented = augmented

    def __aiter__(self) -> "GroundedStream":
        return self

    async def __anext__(self) -> Sequence[ChatEvent]:
        """See `EventStream.__anext__`."""
        events = await self._stream.__anext__()
        last = events[-1]
        if type(last) is not Finished:
            return events
        told = replace(last, grounding=self._augmented.grounding)
        if self._augmented.has_footer and (sources := self._augmented.grounding.sources):
            return [*events[:-1], TextDelta(write_footer(sources)), told]
        return [*events[:-1], told]

    async def aclose(self) -> None:
        """See `EventStream.aclose`."""
        await self._stream.aclose()


def write_footer(sources: Sequence[Source]) -> str:
    """Return the line that names the sources, for clients that show nothing but text."""
    told = (f"[{s.number}] {s.title}" + ("" if s.page is None else f", p. {s.page}") for s in sources)
    return "\n\nSources: " + "; ".join(told)
