"""An answer put together from its events, for replies that are sent whole."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta
from backend.llm.types import ToolCall


class Collected:
    """Keeps what an answer held until it is complete."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.logprobs: list[Mapping[str, Any]] = []
        self._text: list[str] = []
        self._thinking: list[str] = []

    @property
    def text(self) -> str:
        """All text of the answer."""
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        """All reasoning of the answer."""
        return "".join(self._thinking)

    def add(self, events: Sequence[ChatEvent]) -> Finished | None:
        """Take events; return the one that says that the answer is complete, once it came."""
        finished: Finished | None = None
        for event in events:
            match event:
                case TextDelta():
                    self._text.append(event.text)
                    self.logprobs += event.logprobs or ()
                case ThinkingDelta():
                    self._thinking.append(event.text)
                case ToolCall():
                    self.calls.append(event)
                case Finished():
                    finished = event
                case Started():
                    pass
                case _:
                    assert_never(event)
        return finished
