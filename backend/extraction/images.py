"""Pictures: decoded here within bounds, read by text recognition where there is one."""

import io
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backend.extraction.pages import Page, Unreadable
from backend.extraction.tesseract import MAX_PIXELS, Tesseract

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF")
_MAX_DECODED = 64_000_000
"""Pixels of a file's picture; more is refused before a single one is decoded."""
_MAX_SIDE = 30_000
_MAX_FRAMES = 1_000
_TOO_LARGE = "this picture is too large to be read; save it with at most 64 million pixels"
_TOO_MANY = f"this file holds more than {_MAX_FRAMES:,} pictures; split it"
_DAMAGED = "this picture is damaged; open it, save it again as PNG or JPEG and upload it anew"


def read_image(data: bytes, tesseract: Tesseract | None) -> Iterator[Page]:
    """Yield one page for a picture, or one for each of a TIFF; unread ones without text recognition."""
    from PIL import Image  # noqa: PLC0415 (slow to load)

    Image.MAX_IMAGE_PIXELS = _MAX_DECODED
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for number, frame in enumerate(_frames(data), 1):
                text = "" if tesseract is None else tesseract.read(_prepared(frame))
                yield Page(number, text, is_scan=tesseract is None)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(_TOO_LARGE) from None
    except (Unreadable, MemoryError):
        raise
    except Exception:  # noqa: BLE001 (the library raises whatever it meets)
        raise Unreadable(_DAMAGED) from None


def _frames(data: bytes) -> "Iterator[Image]":
    """Yield the pictures of a file, measured and not yet decoded."""
    from PIL import Image, ImageSequence  # noqa: PLC0415

    with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        for number, frame in enumerate(ImageSequence.Iterator(opened) if opened.format == "TIFF" else (opened,)):
            if number >= _MAX_FRAMES:
                raise Unreadable(_TOO_MANY)
            width, height = frame.size
            if width * height > _MAX_DECODED or max(width, height) > _MAX_SIDE:
                raise Unreadable(_TOO_LARGE)
            yield frame


def _prepared(frame: "Image") -> "Image":
    """Return a picture as it is seen: upright, on white, and no larger than is read."""
    from PIL import Image, ImageOps  # noqa: PLC0415

    seen = ImageOps.exif_transpose(frame)
    if seen.has_transparency_data:
        seen = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen.convert("RGBA"))
    grey = seen.convert("L")
    scale = math.sqrt(MAX_PIXELS / (grey.width * grey.height))
    if scale < 1:
        grey = grey.resize((max(1, int(grey.width * scale)), max(1, int(grey.height * scale))), Image.Resampling.BOX)
    return grey
