"""The child process: a document on standard input, its pages as JSON lines on standard output.

Lines are `{"number", "text"}`, with `"scan": true` for a page that nobody could read yet, and `{"recognizing": true}`
before one that takes its time; then `{"done": true}`; or `{"error": sentence}` in place of the rest. Started with
`python -I`, an empty environment and standard input as the only open file (`backend.adapters.sandbox`).
"""

import json
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from backend.extraction.confinement import confine
from backend.extraction.images import read_image
from backend.extraction.kinds import Kind, sniff
from backend.extraction.office import read_document, read_sheets, read_slides
from backend.extraction.pages import MAX_TEXT, Page, Unreadable, in_pieces
from backend.extraction.pdf import read_pdf
from backend.extraction.plain import read_table, read_text, read_web_page
from backend.extraction.tesseract import Tesseract

_READERS: dict[Kind, Callable[[bytes], Iterator[Page]]] = {
    Kind.DOCX: read_document,
    Kind.PPTX: read_slides,
    Kind.XLSX: read_sheets,
    Kind.HTML: read_web_page,
    Kind.MARKDOWN: read_text,
    Kind.TEXT: read_text,
    Kind.CSV: read_table,
}
_TOO_LARGE = "this document holds more text than can be read; split it"
_TOO_MUCH = "this document needs more memory than reading one may take; split it or save it again"
_NO_TEXT = "no text was found in this document; if it is a scan, text recognition must be on"
_EMPTY = "there is no text in this document: it is empty, or holds nothing but pictures, which are read in PDF only"
_NOTHING_SEEN = "no text was found in this document, nor in its pictures; scan it again, upright and sharp"


def main(name: str, memory: int, cpu_seconds: int, *recognition: str) -> None:
    """Read one document under limits that this process cannot raise again.

    Args:
        name: what its owner calls it.
        memory: bytes of address space, of this process and of one that it starts.
        cpu_seconds: of each of them.
        recognition: where tesseract is, its languages and how many pages it reads; nothing where it is not used.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    confine(path for program in recognition[:1] for path in _places_of(Path(program).resolve()))
    tesseract = None
    if recognition:
        binary, languages, most = recognition
        tesseract = Tesseract(binary, languages, int(most), partial(_write, {"recognizing": True}))
    try:
        for page in read(sys.stdin.buffer.read(), name, tesseract):
            _write({"number": page.number, "text": page.text} | ({"scan": True} if page.is_scan else {}))
        _write({"done": True})
    except Unreadable as error:
        _write({"error": str(error)})
    except (MemoryError, RecursionError):
        _write({"error": _TOO_MUCH})


def read(data: bytes, name: str, tesseract: Tesseract | None = None) -> Iterator[Page]:
    """Yield the pages of a document; raise `Unreadable` when there is nothing to be had from it."""
    size = 0
    has_text = has_scan = False
    kind = sniff(data, name)
    for page in _reader(kind, tesseract)(data):
        size += len(page.text)
        if size > MAX_TEXT:
            raise Unreadable(_TOO_LARGE)
        has_scan = has_scan or page.is_scan
        has_text = has_text or bool(page.text.strip())
        yield from in_pieces(page)
    if not has_text and not has_scan:
        raise Unreadable(_nothing_in(kind, tesseract))


def _nothing_in(kind: Kind, tesseract: Tesseract | None) -> str:
    if kind is not Kind.PDF and not kind.is_image:
        return _EMPTY
    return _NO_TEXT if tesseract is None else _NOTHING_SEEN


def _reader(kind: Kind, tesseract: Tesseract | None) -> Callable[[bytes], Iterator[Page]]:
    if kind is Kind.PDF:
        return partial(read_pdf, tesseract=tesseract)
    return partial(read_image, tesseract=tesseract) if kind.is_image else _READERS[kind]


def _places_of(program: Path) -> Iterator[str]:
    """Yield a program and where such a one keeps its libraries and data."""
    yield str(program)
    yield from (str(program.parent.parent / folder) for folder in ("lib", "lib64", "share"))


def _write(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
