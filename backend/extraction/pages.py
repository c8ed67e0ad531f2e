"""What every reader gives: pages of text, and why a document cannot be read."""

from dataclasses import dataclass

MAX_TEXT = 40_000_000
"""Characters of a document; more is refused, not cut: half a document would look like a whole one."""


@dataclass(frozen=True, slots=True)
class Page:
    """The text of one page, slide or sheet; headings are lines that begin with `#`, as in Markdown."""

    number: int
    """From 1."""
    text: str
    is_scan: bool = False
    """It is a picture, and nobody has read it yet."""


class Unreadable(Exception):
    """A document cannot be read; the message is one sentence for whoever uploaded it."""
