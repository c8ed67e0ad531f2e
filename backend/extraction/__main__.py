"""The child process: a document on standard input, its pages as JSON lines on standard output.

Lines are `{"number", "text"}`, then `{"done": true}`; or `{"error": sentence}` in place of the rest. Started with
`python -I`, an empty environment and standard input as the only open file (`backend.adapters.sandbox`).
"""

import json
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from backend.extraction.kinds import Kind, sniff
from backend.extraction.office import read_document, read_sheets, read_slides
from backend.extraction.pages import MAX_TEXT, Page, Unreadable
from backend.extraction.pdf import read_pdf
from backend.extraction.plain import read_table, read_text, read_web_page

_READERS: dict[Kind, Callable[[bytes], Iterator[Page]]] = {
    Kind.PDF: read_pdf,
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


def main(name: str, memory: int, cpu_seconds: int) -> None:
    """Read one document under limits that this process cannot raise again."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        for page in read(sys.stdin.buffer.read(), name):
            _write({"number": page.number, "text": page.text})
        _write({"done": True})
    except Unreadable as error:
        _write({"error": str(error)})
    except (MemoryError, RecursionError):
        _write({"error": _TOO_MUCH})


def read(data: bytes, name: str) -> Iterator[Page]:
    """Yield the pages of a document; raise `Unreadable` when there is nothing to be had from it."""
    reader = _READERS.get(sniff(data, name))
    size = 0
    for page in reader(data) if reader is not None else ():
        size += len(page.text)
        if size > MAX_TEXT:
            raise Unreadable(_TOO_LARGE)
        yield page
    if not size:
        raise Unreadable(_NO_TEXT)


def _write(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
