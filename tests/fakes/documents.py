"""Documents of every kind, made here: good ones, and hostile ones."""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import docx
import openpyxl
import pptx
import pypdf
from PIL import Image, ImageDraw, ImageFont


def pdf(*pages: str, packed: bytes | None = None) -> bytes:
    """Return a PDF with one line of text per page, or one page whose drawing is `packed`."""
    streams = [packed] if packed is not None else [zlib.compress(_drawing(text)) for text in pages]
    count = len(streams)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {count}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for number, stream in enumerate(streams):
        page = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {5 + 2 * number} 0 R"
        objects.append(f"{page}/Resources<</Font<</F1 3 0 R>>>>>>".encode())
        objects.append(b"<</Filter/FlateDecode/Length %d>>stream\n%b\nendstream" % (len(stream), stream))
    return _numbered(objects)


def picture(text: str = "", kind: str = "PNG", size: tuple[int, int] = (1200, 400)) -> bytes:
    """Return a picture with a line of text on it."""
    return _saved_as(_painted(text, size), kind)


def scan(*pages: str, kind: str = "PDF") -> bytes:
    """Return a PDF or TIFF of pictures alone, one line of text on each."""
    first, *others = [_painted(text, (1200, 400)) for text in pages]
    return _saved_as(first, kind, save_all=True, append_images=others)


def mixed(text: str, seen: str) -> bytes:
    """Return a PDF whose first page is text, whose second one is a scan and whose third is text again."""
    writer = pypdf.PdfWriter()
    for part in (pdf(text), scan(seen), pdf(f"{text} again")):
        writer.append(io.BytesIO(part))
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _painted(text: str, size: tuple[int, int]) -> Image.Image:
    painted = Image.new("L", size, 255)
    ImageDraw.Draw(painted).text((60, 120), text, fill=0, font=ImageFont.load_default(64))
    return painted


def _saved_as(painted: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    painted.save(out, kind, **options)
    return out.getvalue()


def _drawing(text: str) -> bytes:
    safe = text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    return b"BT /F1 12 Tf 50 700 Td (%b) Tj ET" % safe


def _numbered(objects: Sequence[bytes]) -> bytes:
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    at = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, at)
    return bytes(out)


def word(*parts: tuple[str, str]) -> bytes:
    """Return a text document of (style, text) paragraphs; the style `table` has rows by `;` and cells by `,`."""
    document = docx.Document()
    for style, text in parts:
        if style == "table":
            rows = [row.split(",") for row in text.split(";")]
            table = document.add_table(len(rows), len(rows[0]))
            for row, cells in zip(table.rows, rows, strict=True):
                for cell, value in zip(row.cells, cells, strict=True):
                    cell.text = value
        else:
            document.add_paragraph(text, style=style)
    return _saved(document)


def slides(*titles_and_notes: tuple[str, str]) -> bytes:
    """Return slides, each with a title and notes."""
    deck = pptx.Presentation()
    for title, notes in titles_and_notes:
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        slide.shapes.title.text = title
        slide.notes_slide.notes_text_frame.text = notes
    return _saved(deck)


def sheets(**rows: Sequence[Sequence[object]]) -> bytes:
    """Return a workbook with these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in rows.items():
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(list(line))
    return _saved(book)


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def word_of(xml: bytes) -> bytes:
    """Return what claims to be a text document with this for its content."""
    good = zipfile.ZipFile(io.BytesIO(word(("Normal", "x"))))
    return archive({name: xml if name == "word/document.xml" else good.read(name) for name in good.namelist()})


def _saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()
