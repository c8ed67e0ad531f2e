"""What of a conversation is worth remembering: one question of a person and its answer, in a form to keep.

Nothing else is ever kept: no passages of documents, no results of tools, no system prompt.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.features.generation.augment import write_footer
from backend.features.generation.housekeeping import is_housekeeping
from backend.features.generation.transcript import Said
from backend.features.history.turns import keepable, spoken
from backend.llm.grounding import Grounding
from backend.llm.types import ChatRequest, Message

MAX_CHARACTERS = 1_200
"""Of the question, and of the answer."""
_FIRST_LINES = 300
_TEMPLATE = re.compile(r"\s*#{1,4} Task:")
"""How clients begin a turn into which they have put documents themselves."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer as they are kept."""

    user_id: uuid.UUID
    agent_id: uuid.UUID
    chat_id: uuid.UUID
    question: str
    answer: str
    at: datetime

    @property
    def digest(self) -> bytes:
        """By which the same exchange is known again."""
        return digest_of(self.question, self.answer)


def question_of(request: ChatRequest) -> str:
    """Return what a person asked last; "" for what is none: a tool's turn, a client's own prompts, an image alone."""
    if not request.messages or request.messages[-1].role != "user" or is_housekeeping(request):
        return ""
    text = _trailing_question(request.messages)
    return "" if _TEMPLATE.match(text) else cut(text)


def answer_of(said: Said, grounding: Grounding | None) -> str:
    """Return what was answered; "" for what is no answer to keep: a call of tools, or one that rests on memories."""
    sources = () if grounding is None else grounding.sources
    if said.tool_calls or any(source.kind == "memory" for source in sources):
        return ""
    text = said.text.removesuffix(write_footer(sources)) if sources else said.text
    return cut(spoken("assistant", text))


def embedded(question: str, answer: str) -> str:
    """Return what a vector is made of: the question and the first lines of the answer."""
    return f"{question}\n{answer[:_FIRST_LINES]}"


def digests_in(messages: Sequence[Message]) -> frozenset[bytes]:
    """Return the digests of the exchanges that stand in a conversation already."""
    return frozenset(
        digest_of(cut(question), cut(spoken("assistant", answer))) for question, answer in _pairs(messages)
    )


def digest_of(question: str, answer: str) -> bytes:
    """Return the digest of a question and an answer, without regard to case and white space."""
    return hashlib.sha256(f"{normalised(question)}\0{normalised(answer)}".encode()).digest()


def normalised(text: str) -> str:
    """Return a text without regard to case and white space."""
    return " ".join(text.casefold().split())


def cut(text: str) -> str:
    """Return the beginning of a text, in a form that every database keeps."""
    text = keepable(text).strip()
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1].rstrip() + "\u2026"


def _trailing_question(messages: Sequence[Message]) -> str:
    """Return the text of the last user turn, which some clients send as several messages."""
    texts: list[str] = []
    for message in reversed(messages):
        if message.role != "user":
            break
        texts.append(message.text)
    return _joined(texts[::-1])


def _pairs(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    asked: list[str] = []
    for message in messages:
        if message.role == "user":
            asked.append(message.text)
            continue
        if message.role == "assistant" and asked:
            yield _joined(asked), message.text
        asked = []


def _joined(texts: Sequence[str]) -> str:
    return "\n".join(text for text in texts if text.strip())
