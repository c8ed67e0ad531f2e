"""Composing characters: as Unicode says, and never in more time than a text is long."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.knowledge.composed import composed
from backend.features.knowledge.names import clean_filename
from backend.features.knowledge.terms import fold, index_terms, language_of

TEXTS = st.lists(st.sampled_from(["e\u0301", "\u1112\u1161\u11ab", "\u0323\u0301", "\ufb01", "plain ", "\n", "\u4e00"]))


@pytest.mark.parametrize("form", ["NFC", "NFKC", "NFKD"])
@given(texts=TEXTS, times=st.integers(1, 60))
def test_a_text_with_words_in_it_is_composed_as_one(form: str, texts: list[str], times: int) -> None:
    text = " ".join(texts) * times
    assert composed(form, text) == unicodedata.normalize(form, text)  # type: ignore[arg-type]


def test_a_text_of_accents_is_composed_before_anybody_notices() -> None:
    # All at once this would take minutes, and hours for a file that is as large as may be.
    accents = "kiwi" + "\u0301\u0323" * 200_000
    assert composed("NFC", accents)
    assert clean_filename(accents)
    assert fold(accents) == "kiwi"
    assert index_terms(accents, language_of(accents)) == ["kiwi"]
