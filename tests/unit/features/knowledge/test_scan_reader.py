"""Documents with scans: read by whoever can, in their order, or refused with a reason."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from backend.extraction.pages import Page, Unreadable
from backend.features.knowledge.scan_reader import ScanReader
from tests.fakes import documents


class GivenPages:
    """Implements `DocumentReader`."""

    def __init__(self, *pages: Page) -> None:
        self._pages = pages

    async def read(self, path: Path, name: str) -> AsyncGenerator[Page]:  # noqa: ARG002 (the port's)
        for page in self._pages:
            yield page


class GivenTexts:
    """Implements `Ocr`."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts
        self.asked: list[tuple[str, Sequence[int]]] = []

    async def read(self, path: Path, media_type: str, pages: Sequence[int]) -> Sequence[Page]:  # noqa: ARG002
        self.asked.append((media_type, pages))
        return [Page(number, text) for number, text in zip(pages, self._texts, strict=False)]


TEXT, SCAN, NUMBERED, LAST = Page(1, "text"), Page(2, "", is_scan=True), Page(3, "3", is_scan=True), Page(4, "end")


async def read(folder: Path, ocr: GivenTexts | None, *pages: Page, most: int = 9) -> list[Page]:
    path = folder / "document"
    path.write_bytes(documents.pdf("x"))
    return [page async for page in ScanReader(GivenPages(*pages), ocr, most).read(path, "a.pdf")]


async def test_only_scans_are_read_elsewhere_and_stand_where_they_were(tmp_path: Path) -> None:
    ocr = GivenTexts("seen", "three")
    pages = await read(tmp_path, ocr, TEXT, SCAN, NUMBERED, LAST)
    assert pages == [TEXT, Page(2, "seen"), Page(3, "three"), LAST]
    assert ocr.asked == [("application/pdf", [2, 3])]


async def test_a_document_without_scans_goes_nowhere(tmp_path: Path) -> None:
    ocr = GivenTexts("seen")
    assert await read(tmp_path, ocr, TEXT, LAST) == [TEXT, LAST]
    assert ocr.asked == []


async def test_without_recognition_the_rest_of_a_document_is_read(tmp_path: Path) -> None:
    assert await read(tmp_path, None, TEXT, SCAN, NUMBERED) == [TEXT, Page(3, "3")]


@pytest.mark.parametrize(
    ("ocr", "told"), [(None, "text recognition is off"), (GivenTexts("  "), "no text was found"), (GivenTexts(), "no")]
)
async def test_a_scan_that_nobody_can_read_is_refused(tmp_path: Path, ocr: GivenTexts | None, told: str) -> None:
    with pytest.raises(Unreadable, match=told):
        await read(tmp_path, ocr, SCAN)


async def test_too_many_scans_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    ocr = GivenTexts("seen", "three")
    with pytest.raises(Unreadable, match="more than 1 scanned pages"):
        await read(tmp_path, ocr, SCAN, NUMBERED, most=1)
    assert ocr.asked == []
