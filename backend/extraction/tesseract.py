"""Pictures -> text, by the program tesseract: run here, in the sandbox, and so under its limits and without secrets.

It is given grey pixels alone, never a file of a stranger's: what decodes those is Pillow or pdfium, in this process.
"""

import io
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backend.extraction.pages import Unreadable

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 25_000_000
"""Of a picture that is given to it; A3 at 300 dots per inch has 17 million."""
_SECONDS = 60.0
"""That one page may take; a usual one takes two to five."""
_MAX_OUTPUT = 1_000_000
_SLOW = "a scanned page takes too long to be read; scan it again, upright, in black and white and at 300 dpi"
_CRASHED = "a scanned page could not be read; scan it again, in black and white and at 300 dpi"


class Tesseract:
    """Reads pages, up to a number of them.

    Args:
        binary: the program.
        languages: as it calls them, joined by `+`.
        most: pages that are read; the next one raises `Unreadable`.
        before_each: called before a page is read, which takes its time.
    """

    def __init__(self, binary: str, languages: str, most: int, before_each: Callable[[], None]) -> None:
        self._command = (binary, "stdin", "stdout", "-l", languages)
        self._languages = languages
        self._left = self._most = most
        self._before_each = before_each

    def read(self, picture: "Image") -> str:
        """Return the text of a picture of at most `MAX_PIXELS`; may be empty."""
        if self._left <= 0:
            raise Unreadable(
                f"this document has more than {self._most} scanned pages; split it, or ask an administrator for more"
            )
        self._left -= 1
        self._before_each()
        pixels = io.BytesIO()
        picture.convert("L").save(pixels, "PPM")
        with _explained():
            done = subprocess.run(  # noqa: S603 (what the operator installed, with arguments of theirs)
                self._command, input=pixels.getbuffer(), capture_output=True, timeout=_SECONDS, check=False
            )
        if done.returncode < 0:
            raise Unreadable(_CRASHED)
        if done.returncode:
            raise Unreadable(
                "text recognition failed on a scanned page; ask an administrator whether tesseract has the languages "
                f"{self._languages}"
            )
        return done.stdout[:_MAX_OUTPUT].decode("utf-8", "replace").replace("\f", "").strip()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what starting and running a program raises into a reason."""
    try:
        yield
    except subprocess.TimeoutExpired:
        raise Unreadable(_SLOW) from None
    except OSError:
        raise Unreadable(
            "text recognition cannot be started here; ask an administrator to look for tesseract"
        ) from None
