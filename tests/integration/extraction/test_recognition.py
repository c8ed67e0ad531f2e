"""Scans and pictures, read by a program in the sandbox: what is on them comes out, and its bounds hold there too."""

import io
import shutil
import struct
import zlib
from pathlib import Path

import pypdf
import pytest
from pypdf.generic import RectangleObject

from backend.adapters.sandbox import Recognition, Sandbox, SandboxLimits
from backend.extraction.pages import Page, Unreadable
from tests.fakes import documents
from tests.fakes.tesseract import program

LIMITS = SandboxLimits(memory_bytes=1200 * 2**20, cpu_seconds=20, seconds=50.0)
REAL = shutil.which("tesseract")
SEEN = "seen P5 1200 400 255 with stdin stdout -l fra+eng"


async def read(folder: Path, data: bytes, name: str, binary: str | None, limits: SandboxLimits = LIMITS) -> list[Page]:
    path = folder / "document"
    path.write_bytes(data)
    used = None if binary is None else Recognition(binary, "fra+eng", 3)
    return [page async for page in Sandbox(limits, used).read(path, name)]


async def refusal(folder: Path, data: bytes, name: str, binary: str | None, limits: SandboxLimits = LIMITS) -> str:
    with pytest.raises(Unreadable) as raised:
        await read(folder, data, name, binary, limits)
    return str(raised.value)


@pytest.mark.skipif(REAL is None, reason="the program tesseract is not installed")
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (documents.picture("The notice period is three months."), "notice.png"),
        (documents.picture("The notice period is three months.", "JPEG"), "notice.jpg"),
        (documents.picture("The notice period is three months.", "WEBP"), "notice.webp"),
        (documents.scan("The notice period is three months."), "notice.pdf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_tesseract_reads_what_is_on_a_picture(tmp_path: Path, data: bytes, name: str) -> None:
    [page] = await read(tmp_path, data, name, REAL)
    assert page == Page(1, "The notice period is three months.")


async def test_only_scanned_pages_are_recognised(tmp_path: Path) -> None:
    data = documents.mixed("Vingt-cinq jours de congés.", "scanned")
    first, second, third = await read(tmp_path, data, "a.pdf", program(tmp_path / "bin"))
    assert (first.number, first.text.strip()) == (1, "Vingt-cinq jours de congés.")
    assert second.text.startswith("seen P5 ")
    assert third.number == 3
    assert "again" in third.text


async def test_without_recognition_scans_are_told_and_left_unread(tmp_path: Path) -> None:
    pages = await read(tmp_path, documents.mixed("Vingt-cinq jours de congés.", "scanned"), "a.pdf", None)
    assert [(page.number, page.is_scan) for page in pages] == [(1, False), (2, True), (3, False)]
    assert await read(tmp_path, documents.picture("x"), "a.png", None) == [Page(1, "", is_scan=True)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
async def test_the_program_is_given_grey_pixels_whatever_a_picture_is(tmp_path: Path, kind: str) -> None:
    assert await read(tmp_path, documents.picture("x", kind), "a", program(tmp_path / "bin")) == [Page(1, SEEN)]


async def test_every_picture_of_a_tiff_is_a_page(tmp_path: Path) -> None:
    pages = await read(tmp_path, documents.scan("a", "b", "c", kind="TIFF"), "a.tif", program(tmp_path / "bin"))
    assert pages == [Page(1, SEEN), Page(2, SEEN), Page(3, SEEN)]


async def test_the_program_runs_under_the_limits_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "canary-key")
    binary = program(tmp_path / "bin", 'echo "$(ulimit -v) $(ulimit -f) $(ulimit -n) $OMP_THREAD_LIMIT"; env')
    [page] = await read(tmp_path, documents.picture("x"), "a.png", binary)
    assert page.text.split("\n")[0] == f"{LIMITS.memory_bytes // 1024} 0 64 1"
    assert "canary-key" not in page.text


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("exit 1", "has the languages fra+eng"),
        ("kill -SEGV $$", "could not be read; scan it again"),
        ("true", "nor in its pictures"),
    ],
)
async def test_a_page_that_is_not_recognised_is_a_reason(tmp_path: Path, does: str, told: str) -> None:
    assert told in await refusal(tmp_path, documents.picture("x"), "a.png", program(tmp_path / "bin", does))


async def test_a_program_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    assert "cannot be started" in await refusal(tmp_path, documents.picture("x"), "a.png", str(tmp_path / "none"))


async def test_a_document_of_too_many_scans_is_refused(tmp_path: Path) -> None:
    data = documents.scan("a", "b", "c", "d")
    assert "more than 3 scanned pages" in await refusal(tmp_path, data, "a.pdf", program(tmp_path / "bin"))


async def test_recognising_ends_when_it_takes_too_long(tmp_path: Path) -> None:
    limits = SandboxLimits(LIMITS.memory_bytes, 20, seconds=50.0, recognition_seconds=0.0)
    binary = program(tmp_path / "bin", "exec sleep 1000")
    assert "too long" in await refusal(tmp_path, documents.picture("x"), "a.png", binary, limits)


def _claimed_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("binary", [None, "fake"])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (_claimed_png(40_000, 40_000), "too large"),
        (_claimed_png(9_000, 9_000), "too large"),
        (_claimed_png(1_000_000, 10), "too large"),
        (b"\x89PNG\r\n\x1a\n broken", "damaged"),
        (b"II*\x00 broken", "damaged"),
    ],
)
async def test_hostile_pictures_are_refused_with_a_reason(
    tmp_path: Path, data: bytes, told: str, binary: str | None
) -> None:
    used = None if binary is None else program(tmp_path / "bin")
    assert told in await refusal(tmp_path, data, "a.png", used)


async def test_large_pictures_and_pages_are_made_smaller(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(io.BytesIO(documents.scan("x")))
    writer.pages[0].mediabox = RectangleObject((0, 0, 14_400, 14_400))
    with (tmp_path / "huge.pdf").open("wb") as file:
        writer.write(file)
    huge = (tmp_path / "huge.pdf").read_bytes()
    for data in (huge, documents.picture("x", size=(7_000, 7_000))):
        [page] = await read(tmp_path, data, "a", program(tmp_path / "bin"))
        width, height = map(int, page.text.split()[2:4])
        assert 4_990**2 < width * height <= 25_010_000
