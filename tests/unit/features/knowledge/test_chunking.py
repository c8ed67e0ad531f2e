"""Passages: nothing is lost, each knows its place, none is too long."""

from hypothesis import given
from hypothesis import strategies as st

from backend.extraction.pages import Page
from backend.features.knowledge.chunking import split_pages, whole_text

WORDS = st.text(alphabet=st.sampled_from("ab é.\n#|\u2028\x0c😀"), max_size=400)
PAGES = st.lists(WORDS, min_size=1, max_size=4).map(lambda texts: [Page(n, text) for n, text in enumerate(texts, 1)])


@given(PAGES, st.integers(8, 120))
def test_every_character_that_is_not_blank_is_in_a_passage_and_each_passage_is_where_it_says(
    pages: list[Page], target: int
) -> None:
    text = whole_text(pages)
    chunks = split_pages(pages, target, target // 4)
    covered = set[int]()
    for number, chunk in enumerate(chunks):
        assert chunk.ordinal == number
        assert text[chunk.start : chunk.start + len(chunk.text)] == chunk.text
        assert chunk.text == chunk.text.strip()
        assert 0 < len(chunk.text) <= target
        assert chunk.first_page <= chunk.last_page
        covered.update(range(chunk.start, chunk.start + len(chunk.text)))
    assert all(at in covered or character.isspace() for at, character in enumerate(text))


def test_a_passage_begins_at_its_heading_and_knows_those_above() -> None:
    page = Page(1, "# Code\n## Book one\nText one.\n## Book two\n### Title\nText two.\n# End\nLast.")
    assert [(chunk.headings, chunk.text.splitlines()[0]) for chunk in split_pages([page])] == [
        (("Code",), "# Code"),
        (("Code", "Book one"), "## Book one"),
        (("Code", "Book two"), "## Book two"),
        (("Code", "Book two", "Title"), "### Title"),
        (("End",), "# End"),
    ]


def test_a_passage_over_a_page_break_names_both_pages() -> None:
    [chunk] = split_pages([Page(3, "It begins here"), Page(4, "and ends there.")])
    assert (chunk.first_page, chunk.last_page) == (3, 4)


def test_neighbours_share_their_border_and_end_where_a_paragraph_does() -> None:
    sentence = "Nine words are in this one, and a stop. "
    text = "\n\n".join([sentence * 4] * 6)
    first, second, *_ = split_pages([Page(1, text)], 400, 60)
    assert second.start < first.start + len(first.text)
    assert text[first.start + len(first.text) :].startswith((" \n\n", "\n\n"))


def test_what_is_searched_has_title_and_headings_before_the_text() -> None:
    [chunk] = split_pages([Page(1, "# Leave\nTwenty-five days.")])
    assert chunk.searched("Handbook") == "Handbook > Leave\n# Leave\nTwenty-five days."
    assert split_pages([Page(1, "Plain.")])[0].searched("") == "Plain."


def test_a_long_line_is_no_heading_and_is_not_searched_for_one() -> None:
    # Matched against the form of a heading, each of these would take hours.
    for filling in (" ", "#", "# "):
        line = "# a" + filling * 300_000 + "b"
        assert {chunk.headings for chunk in split_pages([Page(1, line)])} == {()}
