"""What an answer has said, kept as it came and read only when somebody wants it: a token costs one append."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.errors import GatewayError
from backend.llm.events import ChatEvent, TextDelta, ThinkingDelta
from backend.llm.types import ToolCall
from backend.wire.ollama.upstream import LineDecoder

_MAX_LINE = 64 * 2**20
"""Lines come from a stream that has bounded them already."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, or what came of it until now."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class Transcript:
    """The pieces of one answer: lists of events, or the lines of an Ollama machine as they are."""

    __slots__ = ("_pieces", "append")

    def __init__(self) -> None:
        self._pieces: list[Sequence[ChatEvent] | bytes] = []
        self.append = self._pieces.append
        """Keep one more piece."""

    @property
    def length(self) -> int:
        """How many pieces there are; only grows."""
        return len(self._pieces)

    def clear(self) -> None:
        """Forget everything: another upstream is asked."""
        self._pieces.clear()

    def read(self, start: int = 0) -> Said:
        """Return what the pieces from `start` on say."""
        text: list[str] = []
        thinking: list[str] = []
        calls: list[ToolCall] = []
        for piece in self._pieces[start:]:
            for event in _events(piece) if isinstance(piece, bytes) else piece:
                if isinstance(event, TextDelta):
                    text.append(event.text)
                elif isinstance(event, ThinkingDelta):
                    thinking.append(event.text)
                elif isinstance(event, ToolCall):
                    calls.append(event)
        return Said("".join(text), "".join(thinking), tuple(calls))


def _events(lines: bytes) -> Sequence[ChatEvent]:
    """Return the events of whole lines; a line that tells of a failure, or cannot be read, says nothing."""
    try:
        return LineDecoder("", _MAX_LINE).feed(lines if lines.endswith(b"\n") else lines + b"\n")
    except GatewayError:
        return ()
