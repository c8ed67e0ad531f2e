"""Names of documents: texts for people."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.knowledge.names import MAX_FILENAME, clean_filename, title_of


@given(st.text())
def test_a_name_is_one_line_that_shows_all_of_itself(text: str) -> None:
    name = clean_filename(text)
    assert 0 < len(name) <= MAX_FILENAME
    assert not {"/", "\\", "\0"} & set(name)
    assert all(unicodedata.category(letter)[0] != "C" for letter in name)
    assert unicodedata.normalize("NFC", name) == name
    assert name not in {".", ".."}
    name.encode()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\0b.pdf", "ab.pdf"),
        ("dir/.htaccess", "htaccess"),
        ("x" * 300 + ".docx", "x" * 250 + ".docx"),
        ("a\n\tb.txt", "ab.txt"),
        ("\u200b", "document"),
    ],
)
def test_what_cannot_be_kept_is_left_out(given: str, kept: str) -> None:
    assert clean_filename(given) == kept


def test_a_title_is_the_name_as_words() -> None:
    assert title_of("annual_report 2026.final.pdf") == "annual report 2026.final"
