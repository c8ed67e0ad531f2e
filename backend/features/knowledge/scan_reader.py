"""Reads documents to the last page: what the first reader could not, for it is a scan, is read elsewhere or told."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from backend.extraction.kinds import HEAD, Kind, sniff
from backend.extraction.pages import MAX_TEXT, Page, Unreadable
from backend.features.knowledge.ports import DocumentReader, Ocr

_OFF = (
    "this document is a scan, and text recognition is off here; upload one that has text, or ask an administrator to "
    "turn it on"
)
_NOTHING = "this document is a scan, and no text was found in it; scan it again, upright and sharp"
_TOO_LARGE = "this document holds more text than can be read; split it"


class ScanReader:
    """Implements `DocumentReader` over one that may leave scans unread.

    Args:
        reader: reads everything else, and marks scans.
        ocr: reads those; None where nobody does. Then a document of nothing else cannot be read.
        most: scans of one document that are read.
    """

    def __init__(self, reader: DocumentReader, ocr: Ocr | None, most: int) -> None:
        self._reader = reader
        self._ocr = ocr
        self._most = most

    async def read(self, path: Path, name: str) -> AsyncGenerator[Page]:
        """See `DocumentReader.read`; pages come in their order, those after the first scan once all are read."""
        later: list[Page] = []
        is_empty = True
        async with contextlib.aclosing(self._reader.read(path, name)) as pages:
            async for page in pages:
                if self._ocr is not None and (later or page.is_scan):
                    later.append(page)
                elif page.text.strip():
                    is_empty = False
                    yield Page(page.number, page.text)
        for page in await self._recognised(path, name, later):
            if page.text.strip():
                is_empty = False
                yield page
        if is_empty:
            raise Unreadable(_OFF if self._ocr is None else _NOTHING)

    async def _recognised(self, path: Path, name: str, pages: Sequence[Page]) -> Sequence[Page]:
        """Return pages with what stands on those that are scans."""
        scans = [page.number for page in pages if page.is_scan]
        if self._ocr is None or not scans:
            return pages
        if len(scans) > self._most:
            raise Unreadable(
                f"this document has more than {self._most} scanned pages; split it, or ask an administrator for more"
            )
        kind = await asyncio.to_thread(_kind, path, name)
        texts = {page.number: page.text for page in await self._ocr.read(path, kind.value, scans)}
        if sum(map(len, texts.values())) > MAX_TEXT:
            raise Unreadable(_TOO_LARGE)
        return [Page(page.number, texts.get(page.number, "") if page.is_scan else page.text) for page in pages]


def _kind(path: Path, name: str) -> Kind:
    with path.open("rb") as file:
        return sniff(file.read(HEAD), name)
