"""PDF: opened and measured by a reader in Python, which refuses bombs, before the fast native one reads its text.

Pages that are scans are drawn and given to text recognition, where there is one.
"""

import io
import math
from collections.abc import Iterator
from typing import Any

from backend.extraction.pages import Page, Unreadable
from backend.extraction.tesseract import MAX_PIXELS, Tesseract

_MAX_PAGES = 5_000
_MAX_STREAM = 50 * 2**20
"""Bytes a page's drawing may unpack to."""
_SCAN_TEXT = 20
"""Characters below which a page with a picture on it counts as a scan: some have a number or their scanner's name."""
_DEPTH = 5
"""Of objects in objects among which a picture is looked for."""
_DOTS = 200 / 72
"""Pixels for each point of a page that is drawn: 200 an inch."""
_LARGE_PAGE = "a page of this PDF is too large to be read; print it to PDF again and upload that"


def read_pdf(data: bytes, tesseract: Tesseract | None) -> Iterator[Page]:
    """Yield the pages that have text, and scans: read ones or, without text recognition, unread ones."""
    for_pages = _measure(data)
    import pypdfium2  # noqa: PLC0415 (native; only for what was measured)

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError:
        raise Unreadable("this PDF is damaged; print it to PDF again and upload that") from None
    for number in range(min(for_pages, len(document))):
        page = document[number]
        yield from _read(page, number + 1, tesseract)
        page.close()


def _read(page: Any, number: int, tesseract: Tesseract | None) -> Iterator[Page]:
    text = page.get_textpage().get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\ufffe", "").replace("\x02", "")  # where pdfium joins a hyphenated word
    if len(text.strip()) < _SCAN_TEXT and _has_picture(page):
        if tesseract is None:
            yield Page(number, text.strip(), is_scan=True)
            return
        text = tesseract.read(_drawn(page)) or text
    if text.strip():
        yield Page(number, text)


def _has_picture(page: Any) -> bool:
    import pypdfium2.raw as pdfium  # noqa: PLC0415

    return any(True for _ in page.get_objects(filter=(pdfium.FPDF_PAGEOBJ_IMAGE,), max_depth=_DEPTH))


def _drawn(page: Any) -> Any:
    """Return a page as a grey picture, within bounds however large it says it is."""
    width, height = (max(float(side), 1.0) for side in page.get_size())
    scale = min(_DOTS, math.sqrt(MAX_PIXELS / (width * height)))
    return page.render(scale=scale, grayscale=True).to_pil()


def _measure(data: bytes) -> int:
    """Return how many pages there are; raise `Unreadable` for what must not reach the native reader."""
    import pypdf  # noqa: PLC0415 (slow to load)
    from pypdf.errors import LimitReachedError, PyPdfError  # noqa: PLC0415

    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        is_open = not reader.is_encrypted or bool(reader.decrypt(""))
        count = len(reader.pages) if is_open else 0
        largest = max(map(_drawing_size, reader.pages), default=0) if 0 < count <= _MAX_PAGES else 0
    except LimitReachedError:
        raise Unreadable(_LARGE_PAGE) from None
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError, AssertionError):
        raise Unreadable("this PDF is damaged; print it to PDF again and upload that") from None
    if not is_open:
        raise Unreadable("this PDF is protected by a password; remove it and upload the file again")
    if count > _MAX_PAGES:
        raise Unreadable(f"this PDF has more than {_MAX_PAGES:,} pages; split it")
    if largest > _MAX_STREAM:
        raise Unreadable(_LARGE_PAGE)
    return count


def _drawing_size(page: Any) -> int:
    contents = page.get_contents()
    return 0 if contents is None else len(contents.get_data())
