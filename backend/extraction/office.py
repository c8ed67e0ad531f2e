"""Office files: text documents, slides and sheets, with headings and tables."""

import io
from collections.abc import Iterator
from typing import Any

from backend.extraction.archives import check_archive
from backend.extraction.pages import Page, Unreadable
from backend.extraction.plain import write_rows

_DAMAGED = "this file is damaged; open it, save it again and upload it anew"
_MAX_LEVEL = 6
_MAX_ROWS = 200_000
_MAX_COLUMNS = 1_000


def read_document(data: bytes) -> Iterator[Page]:
    """Yield a text document (DOCX) as one page: it has none of its own before it is printed."""
    check_archive(data)
    import docx  # noqa: PLC0415 (each reader loads its own library)
    from docx.table import Table  # noqa: PLC0415

    try:
        parts = [
            "\n".join(write_rows(_cells(item))) if isinstance(item, Table) else _paragraph(item)
            for item in docx.Document(io.BytesIO(data)).iter_inner_content()
        ]
    except Exception:  # noqa: BLE001 (the library raises whatever it meets)
        raise Unreadable(_DAMAGED) from None
    text = "\n\n".join(part for part in parts if part.strip())
    if text:
        yield Page(1, text)


def read_slides(data: bytes) -> Iterator[Page]:
    """Yield one page per slide (PPTX), its notes below it."""
    check_archive(data)
    import pptx  # noqa: PLC0415

    try:
        slides = list(pptx.Presentation(io.BytesIO(data)).slides)
        for number, slide in enumerate(slides, 1):
            text = "\n\n".join(filter(None, _slide_parts(slide)))
            if text.strip():
                yield Page(number, text)
    except Exception:  # noqa: BLE001 (the library raises whatever it meets)
        raise Unreadable(_DAMAGED) from None


def read_sheets(data: bytes) -> Iterator[Page]:
    """Yield one page per sheet (XLSX): what its cells show, formulas by their last value."""
    check_archive(data)
    import openpyxl  # noqa: PLC0415

    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        for number, sheet in enumerate(book.worksheets, 1):
            rows = (
                ["" if cell is None else str(cell) for cell in row]
                for row in sheet.iter_rows(values_only=True, max_row=_MAX_ROWS, max_col=_MAX_COLUMNS)
            )
            lines = write_rows(rows)
            if lines:
                yield Page(number, "\n\n".join([f"# {sheet.title}", *lines]))
    except Unreadable:
        raise
    except Exception:  # noqa: BLE001 (the library raises whatever it meets)
        raise Unreadable(_DAMAGED) from None


def _paragraph(paragraph: Any) -> str:
    text = str(paragraph.text).strip()
    style = str(getattr(paragraph.style, "name", "") or "")
    if not text:
        return ""
    if style == "Title":
        return f"# {text}"
    if style.startswith("Heading "):
        level = style.removeprefix("Heading ")
        return f"{'#' * min(int(level) if level.isdigit() else 1, _MAX_LEVEL)} {text}"
    return f"- {text}" if style.startswith("List") else text


def _cells(table: Any) -> Iterator[list[str]]:
    for row in table.rows:
        yield [str(cell.text) for cell in row.cells]


def _slide_parts(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and title.text.strip():
        yield f"# {title.text.strip()}"
    for shape in slide.shapes:
        if shape.has_text_frame and (title is None or shape.shape_id != title.shape_id):
            yield shape.text_frame.text.strip()
        elif getattr(shape, "has_table", False):
            yield "\n".join(write_rows(_cells(shape.table)))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield slide.notes_slide.notes_text_frame.text.strip()
