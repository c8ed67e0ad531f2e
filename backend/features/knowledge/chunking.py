"""Pages of text -> passages of a few hundred tokens, each with its place in the document.

Cut at headings first, then between paragraphs, lines, sentences, words. Neighbours overlap, so that no answer is cut in
two. Measured in `rag.md` 3: 350 tokens with 70 of overlap find most, and no library does better than a short recursion.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from backend.extraction.pages import Page

CHARACTERS_PER_TOKEN = 4
TARGET = 350 * CHARACTERS_PER_TOKEN
OVERLAP = 70 * CHARACTERS_PER_TOKEN

_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*", re.DOTALL)
_BREAKS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?…;:])\s+"), re.compile(r"\s+"))
"""Where to cut, best first."""
_MAX_HEADING = 200
_LEAST = 0.4
"""Part of a passage's room after which it may end at a good break."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage."""

    ordinal: int
    text: str
    """As it stands in the document, to be cited."""
    headings: tuple[str, ...]
    """The headings over its beginning, from the outermost."""
    first_page: int
    last_page: int
    start: int
    """Characters before it in the whole text (`whole_text`)."""

    def searched(self, title: str) -> str:
        """Return what it is found by: title and headings stand before the text (`rag.md` 0, point 9)."""
        path = " > ".join(filter(None, [title, *self.headings]))
        return f"{path}\n{self.text}" if path else self.text


_PAGE_BREAK = "\n\n"


def whole_text(pages: Sequence[Page]) -> str:
    """Return the text that offsets count in."""
    return _PAGE_BREAK.join(page.text for page in pages)


def split_pages(pages: Sequence[Page], target: int = TARGET, overlap: int = OVERLAP) -> list[Chunk]:
    """Return the passages of a document.

    Args:
        pages: in their order.
        target: characters of a passage at most.
        overlap: characters at the end of one passage with which the next begins, at most; less than half the target.
    """
    text = whole_text(pages)
    starts = _page_starts(pages)
    chunks: list[Chunk] = []
    for section in _sections(text):
        for start, end in _windows(text, section, target, overlap):
            first, last = _page_at(starts, start), _page_at(starts, max(end - 1, start))
            chunks.append(
                Chunk(len(chunks), text[start:end], section.headings, pages[first].number, pages[last].number, start)
            )
    return chunks


@dataclass(frozen=True, slots=True)
class _Section:
    start: int
    end: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    level: int
    """Which of `_BREAKS` is behind it."""


def _sections(text: str) -> Iterator[_Section]:
    """Yield the runs of text between headings; a heading is part of what it stands over."""
    path: list[tuple[int, str]] = []
    start, position = 0, 0
    current: tuple[str, ...] = ()
    for line in text.splitlines(keepends=True):
        # Long lines are not even looked at: that takes time by the square, and nothing else runs meanwhile.
        found = _HEADING.fullmatch(line.strip()) if len(line) <= _MAX_HEADING else None
        if found is not None:
            if text[start:position].strip():
                yield _Section(start, position, current)
                start = position
            level = len(found[1])
            path = [*(heading for heading in path if heading[0] < level), (level, found[2])]
            current = tuple(heading for _, heading in path)
        position += len(line)
    if text[start:position].strip():
        yield _Section(start, position, current)


def _windows(text: str, section: _Section, target: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield where each passage of a section begins and ends."""
    pieces = list(_pieces(text, section.start, section.end, target))
    first = 0
    while first < len(pieces):
        last = _last_piece(pieces, first, target)
        start, end = _trimmed(text, pieces[first].start, pieces[last].end)
        if start < end:
            yield start, end
        if last + 1 == len(pieces):
            return
        following = last + 1
        while following - 1 > first and pieces[last].end - pieces[following - 1].start <= overlap:
            following -= 1
        first = following


def _last_piece(pieces: Sequence[_Piece], first: int, target: int) -> int:
    """Return the piece a passage ends with: the rest if it fits, else the best break in the last part of its room."""
    best = last = first
    while last + 1 < len(pieces) and pieces[last + 1].end - pieces[first].start <= target:
        last += 1
        is_short = pieces[last].end - pieces[first].start < target * _LEAST
        if is_short or pieces[last].level <= pieces[best].level:
            best = last
    return last if last + 1 == len(pieces) else best


def _pieces(text: str, start: int, end: int, target: int, level: int = 0) -> Iterator[_Piece]:
    """Yield the smallest pieces of a run that passages are made of: sentences, or what a longer one falls into."""
    limit = max(target // 8, 1)
    if level == len(_BREAKS):
        yield from (_Piece(at, min(at + limit, end), level) for at in range(start, end, limit))
        return
    parts = list(_cut(text, start, end, _BREAKS[level]))
    for part_start, part_end in parts:
        if part_end - part_start <= limit:
            yield _Piece(part_start, part_end, level)
            continue
        *inner, last = _pieces(text, part_start, part_end, target, level + 1)
        yield from inner
        yield _Piece(last.start, last.end, level)


def _cut(text: str, start: int, end: int, between: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a run, each with the break behind it."""
    at = start
    for found in between.finditer(text, start, end):
        if found.end() > at:
            yield at, found.end()
        at = found.end()
    if at < end:
        yield at, end


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _page_starts(pages: Iterable[Page]) -> list[int]:
    starts, at = [], 0
    for page in pages:
        starts.append(at)
        at += len(page.text) + len(_PAGE_BREAK)
    return starts


def _page_at(starts: Sequence[int], position: int) -> int:
    """Return the index of the page a character stands on."""
    return bisect_right(starts, position) - 1
