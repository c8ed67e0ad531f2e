"""What a file is, found from its bytes; its name only tells kinds of plain text apart."""

import io
import zipfile
from enum import StrEnum
from pathlib import PurePath

from backend.extraction.pages import Unreadable


class Kind(StrEnum):
    """A kind of document that can be read; the value is its media type."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    CSV = "text/csv"
    TEXT = "text/plain"
    PNG = "image/png"
    JPEG = "image/jpeg"
    GIF = "image/gif"
    WEBP = "image/webp"
    TIFF = "image/tiff"

    @property
    def is_image(self) -> bool:
        """Whether it is a picture, of which nothing can be read but by text recognition."""
        return self.value.startswith("image/")


HEAD = 4096
"""Bytes at the beginning of a file that are looked at first."""

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": Kind.PNG,
    b"\xff\xd8\xff": Kind.JPEG,
    b"GIF87a": Kind.GIF,
    b"GIF89a": Kind.GIF,
    b"II*\x00": Kind.TIFF,
    b"MM\x00*": Kind.TIFF,
}
_PARTS = {"word/document.xml": Kind.DOCX, "ppt/presentation.xml": Kind.PPTX, "xl/workbook.xml": Kind.XLSX}
_SUFFIXES = {
    ".md": Kind.MARKDOWN,
    ".markdown": Kind.MARKDOWN,
    ".csv": Kind.CSV,
    ".tsv": Kind.CSV,
    ".htm": Kind.HTML,
    ".html": Kind.HTML,
}
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_UNKNOWN = "this kind of file cannot be read; upload PDF, DOCX, PPTX, XLSX, CSV, HTML, Markdown, plain text or an image"


def sniff(data: bytes, name: str) -> Kind:
    """Return what a file is.

    Args:
        data: the whole file, or its first `HEAD` bytes where it is no zip archive.
        name: what its owner calls it.

    Raises `Unreadable` for what none of the readers takes.
    """
    if data[:1024].lstrip(b"\xef\xbb\xbf\x00 \r\n\t").startswith(b"%PDF-") or b"%PDF-" in data[:1024]:
        return Kind.PDF
    if (image := _image(data)) is not None:
        return image
    if data.startswith(b"PK\x03\x04"):
        return _office(data)
    if data.startswith(_OLD_OFFICE):
        raise Unreadable("this is an old or protected Office file; save it as DOCX, PPTX or XLSX without a password")
    if b"\x00" in data[:HEAD] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable(_UNKNOWN)
    if data[:HEAD].lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(_HTML):
        return Kind.HTML
    return _SUFFIXES.get(PurePath(name).suffix.lower(), Kind.TEXT)


def _image(data: bytes) -> Kind | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Kind.WEBP
    return next((kind for mark, kind in _IMAGES.items() if data.startswith(mark)), None)


def _office(data: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, OSError):
        raise Unreadable("this file is damaged; open it, save it again and upload it anew") from None
    for part, kind in _PARTS.items():
        if part in names:
            return kind
    raise Unreadable("archives are not unpacked; upload the documents in it one by one")
