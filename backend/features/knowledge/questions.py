"""What a conversation asks for: its last user turn, and for a follow-up the one before it too; no model rewrites it."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.features.knowledge.languages import Language
from backend.features.knowledge.terms import fold, query_words, references
from backend.llm.types import Message

_MAX_TEXT = 2_000
"""Characters of a turn that are looked for: what somebody pastes in is long, what they ask stands at an end of it."""
_SHORT, _WITH_ANAPHORA = 6, 14
"""Words under which a question may lean on the one before it: in any case, and when a word of it points back."""
_POINTING_BACK = (
    "it its this that these those they them their he she his her there same other former latter also "
    "il elle ils elles ce cela ca ceci celui celle ceux celles lui leur leurs y en son sa ses aussi meme autre"
)
_ANAPHORA = frozenset(_POINTING_BACK.split())


@dataclass(frozen=True, slots=True)
class Question:
    """What to look for."""

    last: str
    previous: str = ""
    """The user turn before it, where the last one leans on it."""

    @property
    def text(self) -> str:
        """Both, for a model that makes vectors."""
        return f"{self.previous}\n{self.last}" if self.previous else self.last

    @property
    def weighted(self) -> Sequence[tuple[str, float]]:
        """The turns and how much each counts: what was asked last counts twice."""
        return ((self.last, 2.0), (self.previous, 1.0)) if self.previous else ((self.last, 1.0),)

    def words(self, languages: Sequence[Language]) -> list[frozenset[str]]:
        """Return the telling words of all turns, each as the terms it may be under."""
        return list(dict.fromkeys(word for text, _ in self.weighted for word in query_words(text, languages)))

    def references(self) -> list[str]:
        """Return what is written as a reference in any turn."""
        return list(dict.fromkeys(found for text, _ in self.weighted for found in references(text)))


def read_question(messages: Sequence[Message]) -> Question:
    """Return what a conversation asks for; images are not looked at."""
    asked = [_bounded(message.text) for message in messages if message.role == "user"]
    said = [text for text in asked if text]
    if not said:
        return Question("")
    return Question(said[-1], said[-2] if len(said) > 1 and _leans(said[-1]) else "")


def _leans(text: str) -> bool:
    words = [fold(word.strip(".,;:!?'\"()")) for word in text.replace("\u2019", "'").replace("'", " ").split()]
    return len(words) < _SHORT or (len(words) < _WITH_ANAPHORA and not _ANAPHORA.isdisjoint(words))


def _bounded(text: str) -> str:
    """Return both ends of a long text."""
    stripped = text.strip()
    half = _MAX_TEXT // 2
    return stripped if len(stripped) <= _MAX_TEXT else f"{stripped[:half]}\n{stripped[-half:]}"
