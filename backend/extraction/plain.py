"""Plain text, Markdown, tables of separated values and web pages."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from backend.extraction.pages import Page, Unreadable
from backend.extraction.unseen import drop_unseen

_MAX_DEPTH = 2_000
_WESTERN = frozenset(
    {
        *("latin_1", "iso8859_2", "iso8859_9", "iso8859_15", "iso8859_16", "mac_roman", "mac_latin2"),
        *("cp437", "cp850", "cp858", "cp1250", "cp1254", "cp1257", "cp1258"),
    }
)
"""Encodings that differ in a few letters, which a short text does not tell: French and English are in Windows' own."""
_TAG = re.compile(rb"<(/?)[a-zA-Z]")


def decode(data: bytes) -> str:
    """Return text in whatever encoding it is, its lines ended as on Unix."""
    for encoding in _marked(data):
        try:
            return _clean(data.decode(encoding))
        except UnicodeDecodeError:
            continue
    import charset_normalizer  # noqa: PLC0415 (only what is not UTF-8 needs it)

    best = charset_normalizer.from_bytes(data[:1_000_000]).best()
    guess = "cp1252" if best is None or best.encoding in _WESTERN else best.encoding
    return _clean(data.decode(guess, "replace"))


def read_text(data: bytes) -> Iterator[Page]:
    """Yield plain text or Markdown: one page, or one per form feed."""
    for number, text in enumerate(decode(data).split("\f"), 1):
        if text.strip():
            yield Page(number, text)


def read_table(data: bytes) -> Iterator[Page]:
    """Yield a table of separated values."""
    text = decode(data)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:8192], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(1_000_000)
    try:
        lines = write_rows(csv.reader(io.StringIO(text), dialect))
    except csv.Error:
        raise Unreadable("this table cannot be read; save it as CSV in UTF-8 and upload it again") from None
    if lines:
        yield Page(1, "\n\n".join(lines))


def write_rows(rows: Iterator[Sequence[str]]) -> list[str]:
    """Return one paragraph per row, `column: value` in each line; the first row names the columns."""
    header: Sequence[str] | None = None
    written = []
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if header is None:
            header = cells
            continue
        names = [*header, *[""] * (len(cells) - len(header))]
        pairs = [(name, cell) for name, cell in zip(names, cells, strict=False) if cell]
        written.append("\n".join(f"{name}: {cell}" if name else cell for name, cell in pairs))
    return written or ([" | ".join(filter(None, header))] if header else [])


def read_web_page(data: bytes) -> Iterator[Page]:
    """Yield what a reader of a web page sees: without navigation, scripts and hidden text."""
    _check_depth(data)
    import trafilatura  # noqa: PLC0415 (slow to load)

    tree = drop_unseen(decode(data))
    text = (
        None
        if tree is None
        else trafilatura.extract(
            tree, output_format="markdown", include_tables=True, include_links=False, favor_recall=True
        )
    )
    if text:
        yield Page(1, text)


def _check_depth(data: bytes) -> None:
    """Refuse what nests so deeply that parsers give up or recurse."""
    depth = deepest = 0
    for found in _TAG.finditer(data):
        depth += -1 if found[1] else 1
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH and b"</" in data:
        raise Unreadable("this web page is nested too deeply to be read; save its text and upload that")


def _marked(data: bytes) -> tuple[str, ...]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    return ("utf-8-sig",)


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
