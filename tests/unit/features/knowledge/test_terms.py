"""What a passage is found by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.knowledge.languages import Language
from backend.features.knowledge.terms import index_terms, language_of, query_terms, query_words, references

FRENCH, ENGLISH, OTHER = Language.FRENCH, Language.ENGLISH, Language.OTHER


@pytest.mark.parametrize(
    ("asked", "written", "language"),
    [
        ("employés", "Un employé", FRENCH),
        ("DECLARES", "les déclarés", FRENCH),
        ("cœur", "le coeur", FRENCH),
        ("écrous", "Un écrou", FRENCH),
        ("trou", "Les trous", FRENCH),
        ("clous", "article: clou\nstock: 95", OTHER),
        ("Où sont les M8 ?", "Vis M8", FRENCH),
        ("l\u2019été", "L'ÉTÉ", FRENCH),
        ("contracts", "The contract", ENGLISH),
        ("ref-2024/17", "Dossier REF-2024/17 clos", FRENCH),
        ("ISO 27001 ou iso27001", "ISO-27001", FRENCH),
        ("rondelles", "article: rondelle\nstock: 95", OTHER),
        ("washers", "article: washer\nstock: 95", OTHER),
        ("Angestellte", "Angestellte", OTHER),
    ],
)
def test_a_question_finds_other_forms_of_its_words(asked: str, written: str, language: Language) -> None:
    assert set(query_terms(asked, [language])) & set(index_terms(written, language))


def test_words_that_say_nothing_are_left_out_unless_there_are_no_others() -> None:
    assert query_terms("Combien de jours de congé ?", [FRENCH]) == ["jour", "cong"]
    assert query_terms("to be or not to be", [ENGLISH]) == ["to", "be", "or", "not"]


def test_a_question_is_read_in_every_language_of_its_scope() -> None:
    terms = query_terms("national employees", [FRENCH, ENGLISH])
    assert set(index_terms("national", FRENCH)) | set(index_terms("employees", ENGLISH)) <= set(terms)


def test_a_question_to_tables_is_not_weighed_by_words_that_say_nothing() -> None:
    assert len(query_words("Où sont les rondelles ?", [OTHER])) == 1


def test_both_numbers_of_a_french_word_are_one_word_of_a_question() -> None:
    assert query_words("Où sont les écrous M8 ?", [FRENCH]) == [frozenset({"ecrous", "ecrou"}), frozenset({"m8"})]
    assert query_terms("le cou ou les clous", [FRENCH]) == ["cou", "clous", "cous", "clou"]
    assert query_terms("famous", [ENGLISH]) == ["famous"]


def test_references_are_kept_whole() -> None:
    assert references("Voir ISO-27001 et v1.2.3, pas peut-être.") == ["iso27001", "v123"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Les salariés ont droit à vingt-cinq jours de congé par an.", FRENCH),
        ("Employees have a right to twenty-five days of leave in a year.", ENGLISH),
        ("Die Angestellten haben ein Recht auf Urlaub.", OTHER),
        ("", OTHER),
    ],
)
def test_a_text_tells_its_language(text: str, language: Language) -> None:
    assert language_of(text) is language


@given(st.text(max_size=200))
def test_any_text_has_terms_that_a_search_engine_takes_as_words(text: str) -> None:
    for language in Language:
        for term in (*index_terms(text, language), *query_terms(text, [language])):
            assert term
            assert '"' not in term
            assert not any(character.isspace() for character in term)
