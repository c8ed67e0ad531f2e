"""Documents never take more of a window than there is, and the turns around them stay as they are."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.knowledge.assembly import (
    RULES,
    WholeDocument,
    compose,
    cost,
    fit_passages,
    write_documents,
)
from backend.features.knowledge.budget import DEFAULT_WINDOW, count, plan, prompt_tokens, reserve, widen
from backend.features.knowledge.hits import Passage
from backend.llm.types import ChatRequest, ImagePart, Message, Sampling, TextPart, ToolSpec
from tests.fakes.providers import info

Turn = tuple[str, str]
RULE_TOKENS = count(RULES) + 16


def chat(*turns: Turn, **more: Any) -> ChatRequest:
    return ChatRequest("m", tuple(Message(role, (TextPart(text),)) for role, text in turns), **more)  # type: ignore[arg-type]


def passage(text: str, score: float = 1.0, title: str = "law.pdf") -> Passage:
    return Passage((1,), uuid.UUID(int=7), title, (), (0, 0), text, 3, 0, score)


CONVERSATIONS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=4_000)), max_size=8
).map(lambda turns: [*turns, ("user", "a question")])


@given(
    CONVERSATIONS,
    st.lists(st.text(min_size=1, max_size=3_000), max_size=14),
    st.lists(st.text(min_size=1, max_size=6_000), max_size=3),
    st.sampled_from([None, 512, 2_048, 4_096, 8_192, 32_768]),
    st.sampled_from([None, 2_048, 131_072]),
    st.sampled_from([None, 100, 5_000]),
    st.sampled_from([None, 64, 700]),
    st.booleans(),
)
def test_the_window_is_never_exceeded_by_documents(
    turns: list[Turn],
    texts: list[str],
    wholes: list[str],
    num_ctx: int | None,
    context: int | None,
    answer: int | None,
    most: int | None,
    is_ollama: bool,
) -> None:
    extras = {} if num_ctx is None else {"num_ctx": num_ctx}
    request = chat(*turns, sampling=Sampling(max_tokens=answer, extras=extras), tools=(ToolSpec("t", "d" * 90),))
    budget = plan(request, info(context_length=context), is_ollama=is_ollama, rules=RULE_TOKENS)
    documents = write_documents([WholeDocument("d", "w.pdf", text) for text in wholes])
    documents = documents if cost(documents) <= budget.whole else []
    passages = fit_passages([passage(t) for t in texts], budget.passages(most, cost(documents)), len(documents) + 1)
    done = widen(compose(request, documents, passages), budget)
    if passages or documents:
        last = len(done.messages) - 1
        kept = tuple(m for at, m in enumerate(done.messages) if m.role == "system" or at == last or not is_ollama)
        window = done.sampling.extras.get("num_ctx", DEFAULT_WINDOW if budget.is_adjustable else budget.window)
        assert prompt_tokens(replace(done, messages=kept)) + reserve(request, budget.window) <= window
        assert window <= max(budget.window, DEFAULT_WINDOW)
    if most is not None:
        assert cost(passages) <= most
    assert done.source is None
    assert done.messages[-1].text.endswith("a question")
    assert [m.text for m in done.messages if m.role == "assistant"] == [t for role, t in turns if role == "assistant"]


def test_an_ollama_machine_is_asked_for_the_window_that_is_needed_and_no_other_backend_is() -> None:
    request = chat(("user", "q" * 9_000))
    for is_ollama, wanted in ((True, 7_168), (False, None)):
        budget = plan(request, info(context_length=131_072), is_ollama=is_ollama, rules=RULE_TOKENS)
        done = widen(compose(request, [], fit_passages([passage("p" * 3_000)], budget.passages(None))), budget)
        assert done.sampling.extras.get("num_ctx") == wanted
    told = chat(("user", "q"), sampling=Sampling(extras={"num_ctx": 2_048}))
    budget = plan(told, info(context_length=131_072), is_ollama=True)
    assert widen(told, budget).sampling.extras == {"num_ctx": 2_048}


def test_whole_passages_are_taken_best_first_and_numbered_in_their_order() -> None:
    given_ = [passage("a" * 300), passage("b" * 3_000), passage("c" * 300)]
    blocks = fit_passages(given_, 300, first=4)
    assert [(block.source.number, block.text[0:3], block.text[-1]) for block in blocks] == [
        (4, "[4]", "a"),
        (5, "[5]", "c"),
    ]


def test_the_system_turn_is_the_same_bytes_whatever_is_asked() -> None:
    documents = write_documents([WholeDocument("d", "w.pdf", "whole"), WholeDocument("e", "v.pdf", "other")])
    first = compose(chat(("system", "P"), ("user", "one")), documents, fit_passages([passage("x")], 500, 3))
    again = compose(chat(("system", "P"), ("user", "two")), documents, fit_passages([passage("y")], 500, 3))
    assert first.messages[0] == again.messages[0]
    assert first.messages[0].text.startswith(f"P\n\n{RULES}\n\n<<<sources ")
    assert compose(chat(("user", "one")), [], []).messages[0].text == RULES


def test_the_mark_of_passages_is_new_each_time() -> None:
    made = {compose(chat(("user", "q")), [], fit_passages([passage("x")], 500)).messages[-1].text for _ in range(20)}
    assert len(made) == 20


def test_the_question_follows_the_sources_and_its_images_stay() -> None:
    image = ImagePart("AAAA", "image/png")
    request = ChatRequest("m", (Message("user", (TextPart("q"), image)),))
    done = compose(request, [], fit_passages([passage("x")], 500)).messages[-1]
    assert done.images == (image,)
    assert len(done.content) == 2
    assert done.text.startswith("<<<sources ")
    assert done.text.endswith(">>>\n\nq")


@pytest.mark.parametrize(("given_", "first"), [(6, "[1]"), (7, "[7]")])
def test_few_passages_begin_with_the_best_and_many_end_with_it(given_: int, first: str) -> None:
    blocks = fit_passages([passage(f"p{n}") for n in range(given_)], 5_000)
    text = compose(chat(("user", "q")), [], blocks).messages[-1].text
    assert text.splitlines()[1].startswith(first)


def test_a_letter_of_languages_that_need_more_tokens_counts_for_more() -> None:
    assert count("a" * 3_000) == 1_000
    assert count("\u6cd5" * 1_000) == 1_000  # one of Chinese is about one token
    assert count("\U0001f600" * 300) >= 300
    asked = prompt_tokens(chat(("user", "\u6cd5" * 1_000)))
    assert asked - prompt_tokens(chat(("user", ""))) == 1_000
