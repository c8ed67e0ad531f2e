"""What is worth remembering: a person's question and its answer, cut, and nothing that came from elsewhere."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.db.tables import utc_now
from backend.features.generation.augment import write_footer
from backend.features.generation.transcript import Said
from backend.features.memory.exchanges import (
    MAX_CHARACTERS,
    Exchange,
    answer_of,
    cut,
    digest_of,
    digests_in,
    embedded,
    question_of,
)
from backend.llm.grounding import Grounding, Source, write_sources
from backend.llm.types import ChatRequest, ImagePart, Message, TextPart, ToolCall

DOCUMENT = Source(1, "d", "law.pdf", 2, 0.5)
MEMORY = Source(2, "m", "earlier exchange of 2026-11-02", score=0.25, kind="memory")


def message(role: Any, text: str, **more: Any) -> Message:
    return Message(role, (TextPart(text),) if text else (), **more)


def request(*messages: Message) -> ChatRequest:
    return ChatRequest("m", messages)


QUESTIONS: dict[str, tuple[list[Message], str]] = {
    "a question": ([message("system", "be kind"), message("user", " Why? \n")], "Why?"),
    "in several messages": ([message("user", "See:"), message("user", "why?")], "See:\nwhy?"),
    "after an answer": ([message("user", "a"), message("assistant", "b"), message("user", "c")], "c"),
    "a tool's turn": ([message("user", "a"), message("tool", "b")], ""),
    "an answer begun": ([message("user", "a"), message("assistant", "b")], ""),
    "an image alone": ([Message("user", (ImagePart("aGk=", "image/png"),))], ""),
    "a title": ([message("user", "### Task:\nGenerate a concise, 3-5 word title\n<chat_history>a")], ""),
    "with documents in it": (
        [
            message("user", "x"),
            message("assistant", "y"),
            message("user", "### Task:\nRespond <context>secret</context>"),
        ],
        "",
    ),
    "nothing at all": ([], ""),
    "blank": ([message("user", " \n ")], ""),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_what_a_person_asked_last(name: str) -> None:
    messages, expected = QUESTIONS[name]
    assert question_of(request(*messages)) == expected


def test_an_answer_is_its_text_without_thinking_and_footer() -> None:
    assert answer_of(Said(" <think>so</think> Yes.\n", "thought"), None) == "Yes."
    grounding = Grounding((DOCUMENT,), "keyword", 1)
    assert answer_of(Said("Yes [1]." + write_footer((DOCUMENT,))), grounding) == "Yes [1]."
    assert answer_of(Said("Yes."), Grounding((), "none", 1)) == "Yes."


def test_answers_that_call_tools_or_rest_on_memories_are_none_to_keep() -> None:
    assert answer_of(Said("Let me see.", "", (ToolCall("1", "f", {}),)), None) == ""
    assert answer_of(Said("As you said."), Grounding((DOCUMENT, MEMORY), "keyword", 1)) == ""
    assert answer_of(Said(""), None) == ""


@given(st.text(max_size=3_000))
def test_what_is_kept_is_short_and_fit_for_a_database(text: str) -> None:
    kept = cut(text)
    assert len(kept) <= MAX_CHARACTERS
    assert "\0" not in kept
    kept.encode()
    assert cut(kept) == kept
    assert digest_of(kept, kept) == digest_of(f" {kept}\n", kept)


def test_the_same_exchange_has_the_same_digest_and_others_have_not() -> None:
    assert digest_of("A  b", "C") == digest_of("a b", "c\n")
    assert len({digest_of(*pair) for pair in [("a", "b c"), ("a b", "c"), ("b", "a"), ("ab", "c")]}) == 4
    exchange = Exchange(uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3), "A", "B", utc_now())
    assert exchange.digest == digest_of("a", "b")


def test_the_exchanges_of_a_conversation_are_known_again() -> None:
    long = "x" * 5_000
    turns = [message("user", "See:"), message("user", long), message("assistant", f"<think>t</think>{long}")]
    [digest] = digests_in([*turns, message("user", "and?")])
    assert digest == digest_of(cut(f"See:\n{long}"), cut(long))
    assert digests_in([message("assistant", "hi"), message("user", "a")]) == frozenset()


def test_a_long_conversation_is_looked_through_once() -> None:
    # Looked through again for each of its answers it would take minutes.
    turns = [message("user", "a"), message("assistant", "b")] * 150_000
    assert digests_in(turns) == {digest_of("a", "b")}


def test_a_vector_is_made_of_the_question_and_the_first_lines_of_the_answer() -> None:
    assert embedded("q", "a" * 1_000) == "q\n" + "a" * 300


def test_a_memory_is_told_as_one() -> None:
    assert write_sources((DOCUMENT, MEMORY)) == [
        {"n": 1, "document_id": "d", "title": "law.pdf", "page": 2, "score": 0.5},
        {"n": 2, "kind": "memory", "memory_id": "m", "title": "earlier exchange of 2026-11-02", "score": 0.25},
    ]
