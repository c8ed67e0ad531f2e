"""Characters and their accents brought into one form, in time that grows with the text alone.

Accents that follow one another are sorted, which takes time by the square of how many there are, and nothing else of
this process runs meanwhile: a file of nothing but accents would stop the gateway for hours. So it is done in pieces.
"""

import unicodedata
from typing import Literal

Form = Literal["NFC", "NFKC", "NFKD"]

_PIECE = 1_000


def composed(form: Form, text: str) -> str:
    """Return a text in a form of Unicode's; of runs without an ASCII character each piece is composed by itself."""
    if len(text) <= _PIECE or text.isascii():
        return unicodedata.normalize(form, text)
    pieces = []
    at = 0
    while at < len(text):
        end = _end(text, at)
        pieces.append(unicodedata.normalize(form, text[at:end]))
        at = end
    return "".join(pieces)


def _end(text: str, at: int) -> int:
    """Return where a piece ends: before an ASCII character, which composes with nothing that stands before it."""
    last = at + _PIECE
    if last >= len(text):
        return len(text)
    return next((end for end in range(last, at + _PIECE // 2, -1) if text[end].isascii()), last)
