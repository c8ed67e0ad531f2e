"""What is looked for and what counts as an answer."""

import pytest

from backend.features.knowledge.languages import Language
from backend.features.knowledge.questions import Question, read_question
from backend.features.knowledge.relevance import KeywordGate, rare_first, within_bounds
from backend.llm.types import ImagePart, Message, TextPart

FRENCH = (Language.FRENCH,)


def turn(text: str, role: str = "user") -> Message:
    return Message(role, (TextPart(text),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([turn("Quel est le délai d'une démission ?")], ("Quel est le délai d'une démission ?", "")),
        (
            [turn("first question about law"), turn("yes", "assistant"), turn("And in Paris?")],
            ("And in Paris?", "first question about law"),
        ),
        (
            [turn("first question"), turn("Is it still valid when the contract was signed by somebody else?")],
            ("Is it still valid when the contract was signed by somebody else?", "first question"),
        ),
        (
            [turn("first"), turn("Which taxes must a small company with two employees pay every month?")],
            ("Which taxes must a small company with two employees pay every month?", ""),
        ),
        ([turn("old"), Message("user", (ImagePart("AAAA", "image/png"),))], ("old", "")),
        ([], ("", "")),
    ],
)  # fmt: skip
def test_a_follow_up_takes_the_question_before_it_along(turns: list[Message], expected: tuple[str, str]) -> None:
    asked = read_question(turns)
    assert (asked.last, asked.previous) == expected


def test_of_a_long_text_both_ends_are_looked_for() -> None:
    asked = read_question([turn("begin " + "x" * 9_000 + " end")])
    assert asked.last.startswith("begin ")
    assert asked.last.endswith(" end")
    assert len(asked.last) <= 2_001


def test_terms_in_many_passages_are_not_looked_for_and_rare_ones_first() -> None:
    counts = {"a": 5_000, "b": 300, "c": 2, "d": 0}
    assert rare_first(["a", "b", "c", "d", "b"], counts, 10_000) == ["c", "b"]
    assert rare_first(["a", "b"], {"a": 900, "b": 3}, 1_000) == ["b", "a"]
    assert len(rare_first([str(n) for n in range(99)], {str(n): 1 for n in range(99)}, 10_000)) == 16


@pytest.mark.parametrize(
    ("asked", "terms", "passes"),
    [
        ("congés du salarié", {"cong", "salari"}, True),
        ("congés du salarié", {"cong"}, False),
        ("congés ?", {"cong"}, True),
        ("capitale du salarié", {"salari"}, False),
        ("le contrat ART-417", {"art417"}, True),
        ("Où sont les vis M8 ?", {"m8"}, True),
        ("Où sont les vis M8 ?", {"vis"}, False),
        ("la commande A4", {"a4"}, False),
        ("le taux de CO2 émis par le camion de Paul", {"co2"}, False),
        ("le 1er congé du salarié", {"1er"}, False),
        ("le contrat", {"paul"}, False),
    ],
)
def test_two_words_or_one_reference_make_an_answer(asked: str, terms: set[str], passes: bool) -> None:
    question = Question(asked)
    counts = {"cong": 3, "salari": 4, "contrat": 900, "m8": 2, "vis": 40, "a4": 400, "1er": 3}
    gate = KeywordGate(question.words(FRENCH), question.references(), counts, 1_000)
    assert gate.admits(frozenset(terms)) == passes


def test_of_a_long_question_no_more_terms_are_counted_than_the_index_has_time_for() -> None:
    question = Question(" ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(300)) + " REF-1 " * 50)
    words, exact, counted = within_bounds(question.words(FRENCH), question.references(), ["more"])
    assert len(counted) <= 128
    assert counted == frozenset(exact).union(*words)
    every = question.words(FRENCH)
    assert {"ref1", *every[0], *every[-1]} <= counted
    short = Question("congés du salarié, ART-417")
    words, exact, counted = within_bounds(short.words(FRENCH), short.references(), ["more"])
    assert (words, exact) == (short.words(FRENCH), ["art417"])
    assert counted == frozenset({"more", "art417"}).union(*words)
