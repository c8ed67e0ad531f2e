"""Looks at the beginning of an answer's text: takes out `<think>` tags or an echoed prefix, then stands aside.

Both occur only at the start, so a decoder drops its lead-in once `done` and pays nothing per token after that.
"""

from collections.abc import Sequence
from typing import Protocol

from backend.llm.events import TextDelta, ThinkingDelta

_OPEN, _CLOSE = "<think>", "</think>"


class LeadIn(Protocol):
    """Reads the first text of an answer."""

    done: bool
    """Whether the rest of the answer may skip this object."""

    def feed(self, text: str) -> Sequence[TextDelta | ThinkingDelta]:
        """Return what this text becomes; may hold back a beginning that could still be a mark."""
        ...

    def close(self) -> Sequence[TextDelta | ThinkingDelta]:
        """Return what was held back when the answer ends."""
        ...


class ThinkTags:
    """Turns a leading `<think>...</think>` into thinking, for servers without a reasoning parser.

    White space after either tag belongs to the tags, as in Ollama.
    """

    def __init__(self) -> None:
        self.done = False
        self._held = ""
        self._read = self._before

    def feed(self, text: str) -> list[TextDelta | ThinkingDelta]:
        """See `LeadIn.feed`."""
        self._held += text
        return self._read()

    def close(self) -> list[TextDelta | ThinkingDelta]:
        """See `LeadIn.close`."""
        self.done = True
        held = self._take(len(self._held))
        if not held or self._read == self._after:
            return []
        return [ThinkingDelta(held) if self._read == self._inside else TextDelta(held)]

    def _take(self, count: int) -> str:
        head, self._held = self._held[:count], self._held[count:]
        return head

    def _before(self) -> list[TextDelta | ThinkingDelta]:
        start = self._held.lstrip()
        if start.startswith(_OPEN):
            self._held = start[len(_OPEN) :]
            self._read = self._opened
            return self._opened()
        if _OPEN.startswith(start):
            return []
        self.done = True
        return [TextDelta(self._take(len(self._held)))]

    def _opened(self) -> list[TextDelta | ThinkingDelta]:
        self._held = self._held.lstrip()
        if not self._held:
            return []
        self._read = self._inside
        return self._inside()

    def _inside(self) -> list[TextDelta | ThinkingDelta]:
        end = self._held.find(_CLOSE)
        thought = self._take(end if end >= 0 else len(self._held) - _overlap(self._held, _CLOSE))
        events: list[TextDelta | ThinkingDelta] = [ThinkingDelta(thought)] if thought else []
        if end >= 0:
            self._take(len(_CLOSE))
            self._read = self._after
            events += self._after()
        return events

    def _after(self) -> list[TextDelta | ThinkingDelta]:
        self._held = self._held.lstrip()
        if not self._held:
            return []
        self.done = True
        return [TextDelta(self._take(len(self._held)))]


class EchoedPrefix:
    """Drops the prefix that some upstreams repeat at the start, since Ollama returns only the continuation."""

    def __init__(self, prefix: str) -> None:
        self.done = not prefix
        self._prefix = prefix
        self._held = ""

    def feed(self, text: str) -> list[TextDelta | ThinkingDelta]:
        """See `LeadIn.feed`."""
        self._held += text
        if self._held.startswith(self._prefix):
            self.done = True
            rest = self._held[len(self._prefix) :]
            return [TextDelta(rest)] if rest else []
        return [] if self._prefix.startswith(self._held) else self.close()

    def close(self) -> list[TextDelta | ThinkingDelta]:
        """See `LeadIn.close`."""
        self.done = True
        held, self._held = self._held, ""
        return [TextDelta(held)] if held else []


def _overlap(text: str, mark: str) -> int:
    """Return how many characters at the end of `text` could be the beginning of `mark`."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-n:])), 0)
