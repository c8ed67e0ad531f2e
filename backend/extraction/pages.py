"""What every reader gives: pages of text, and why a document cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

MAX_TEXT = 40_000_000
"""Characters of a document; more is refused, not cut: half a document would look like a whole one."""

MAX_PIECE = 200_000
"""Characters of a page that are handed on at once: longer ones hold up whoever reads them."""


@dataclass(frozen=True, slots=True)
class Page:
    """The text of one page, slide or sheet; headings are lines that begin with `#`, as in Markdown."""

    number: int
    """From 1."""
    text: str
    is_scan: bool = False
    """It is a picture, and nobody has read it yet."""


def in_pieces(page: Page) -> Iterator[Page]:
    """Yield a page, a long one as several of the same number, cut between lines, words, or at worst anywhere."""
    at = 0
    while len(page.text) - at > MAX_PIECE:
        end = at + MAX_PIECE
        breaks = (page.text.rfind(mark, at + 1, end) for mark in ("\n", " "))
        cut = next((found for found in breaks if found > 0), end)
        yield replace(page, text=page.text[at:cut])
        at = cut if cut == end else cut + 1
    yield replace(page, text=page.text[at:]) if at else page


class Unreadable(Exception):
    """A document cannot be read; the message is one sentence for whoever uploaded it."""
