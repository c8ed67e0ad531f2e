"""FZ-07: documents made to do harm are refused or failed with a reason, and the gateway goes on as before."""

import asyncio
import io
import os
import resource
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pypdf
import pytest

from backend.core.config import Settings
from tests.fakes import documents
from tests.integration.accounts.conftest import Side
from tests.integration.knowledge.conftest import make_collection, passages, send, settled, upload

_SPACE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_MB = 2**20


def word_with(declared: str, used: str) -> bytes:
    """Return a text document that declares entities and uses one."""
    body = f'<w:document xmlns:w="{_SPACE}"><w:body><w:p><w:r><w:t>seen {used}</w:t></w:r></w:p></w:body></w:document>'
    return documents.word_of(f'<?xml version="1.0"?><!DOCTYPE d [{declared}]>{body}'.encode())


def laughs() -> bytes:
    """Return a text document of a billion laughs."""
    deeper = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return word_with(f'<!ENTITY l0 "ha">{deeper}', "&l9;")


def nested_paragraphs() -> bytes:
    """Return a text document whose elements nest a hundred thousand deep."""
    deep = b"<w:smartTag>" * 100_000 + b"</w:smartTag>" * 100_000
    return documents.word_of(b'<w:document xmlns:w="%b"><w:body>%b</w:body></w:document>' % (_SPACE.encode(), deep))


def swollen_sheet(megabytes: int) -> bytes:
    """Return a workbook whose one sheet unpacks to so much."""
    good = zipfile.ZipFile(io.BytesIO(documents.sheets(One=[["a", "b"], [1, 2]])))
    row = b'<row r="1"><c r="A1"><v>1</v></c></row>'
    many = row * (megabytes * _MB // len(row))
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%b</sheetData></worksheet>'
    swollen = "xl/worksheets/sheet1.xml"
    return documents.archive({name: sheet % many if name == swollen else good.read(name) for name in good.namelist()})


def holding(inner: Mapping[str, bytes]) -> bytes:
    """Return a text document that holds other files too."""
    good = zipfile.ZipFile(io.BytesIO(documents.word(("Normal", "harmless words"))))
    return documents.archive({**{name: good.read(name) for name in good.namelist()}, **inner})


def locked() -> bytes:
    """Return a PDF with a password."""
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def circular() -> bytes:
    """Return a PDF whose tree of pages holds itself."""
    return documents.pdf("x").replace(b"/Kids[4 0 R]", b"/Kids[2 0 R]")


CORPUS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "a billion laughs": ("a.docx", laughs),
    "a file of ours": ("a.docx", lambda: word_with('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;")),
    "an address of ours": ("a.docx", lambda: word_with('<!ENTITY x SYSTEM "http://127.0.0.1:9/">', "&x;")),
    "nested deeply": ("a.docx", nested_paragraphs),
    "unpacks a thousandfold": ("a.docx", lambda: holding({"word/media/a.xml": b"0" * 300 * _MB})),
    "another archive in it": ("a.docx", lambda: holding({"a.zip": documents.archive({"b": b"0" * 9 * _MB})})),
    "many files": ("a.docx", lambda: holding({f"word/{n}.xml": b"" for n in range(10_100)})),
    "a huge sheet": ("a.xlsx", lambda: swollen_sheet(500)),
    "a large sheet": ("a.xlsx", lambda: swollen_sheet(60)),
    "a drawing unpacks": ("a.pdf", lambda: documents.pdf(packed=zlib.compress(b"0" * 300 * _MB))),
    "locked": ("a.pdf", locked),
    "pages in a circle": ("a.pdf", circular),
    "cut off": ("a.pdf", lambda: documents.pdf("some words")[:-200]),
    "no structure": ("a.pdf", lambda: b"%PDF-1.7\n" + os.urandom(50_000)),
    "a drawing of noise": ("a.pdf", lambda: documents.pdf(packed=os.urandom(5_000))),
    "a bare archive": ("a.zip", lambda: documents.archive({"../../../etc/cron.d/x": b"x"})),
    "ten thousand levels": ("a.html", lambda: b"<html><body>" + b"<div>" * 200_000 + b"x" + b"</div>" * 200_000),
    "one endless field": ("a.csv", lambda: b'a,b\n1,"' + b"x" * 5 * _MB),
    "quotes without an end": ("a.csv", lambda: b'"' * 2 * _MB),
    "old Office": ("a.doc", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + os.urandom(9_000)),
    "a program": ("a.txt", lambda: b"\x7fELF\x02\x01\x01\x00" + os.urandom(9_000)),
}
HARMLESS = {"a large sheet", "a file of ours", "an address of ours", "another archive in it", "cut off"}
"""What may be read all the same: nothing bad comes of it."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CORPUS)
async def test_a_hostile_document_fails_with_a_reason_and_harms_nobody(
    working: Side, settings: Settings, name: str
) -> None:
    filename, make = CORPUS[name]
    place = await make_collection(working)
    data = await asyncio.to_thread(make)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reply = await send(working, place, data, filename)
    told: dict[str, Any] = reply.json()
    if reply.status_code == 202:
        told = await settled(working, told["id"])
        assert told["status"] == "failed" or name in HARMLESS, told
        reason = told["error"] or ""
        text = "\n".join(await passages(working, told["id"]))
        assert "root:" not in text
        assert len(text) < 100_000
    else:
        assert reply.status_code in {413, 422}, reply.text
        reason = told["detail"]
    assert reason or told["status"] == "ready"
    assert not any(word in reason for word in ("Traceback", str(settings.data_dir), "Error"))
    good = await settled(working, await upload(working, place, b"some good words"))
    assert good["status"] == "ready"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400 * 1024  # KiB: a file is read in a process of its own


NAMES = ("../../../../etc/passwd", "..\\..\\windows\\system32\\x.txt", "/etc/passwd", "a\x00b.txt", "\u202etxt.exe",
    "x" * 5_000 + ".txt", "..", ".", "con.txt\n\r", "a/../../b.txt", "%2e%2e%2fa.txt", "'; drop table documents --.txt",
)  # fmt: skip


def beside(settings: Settings) -> list[Path]:
    """Return what lies beside the folder of data."""
    return sorted(path for path in settings.data_dir.parent.rglob("*") if settings.data_dir not in path.parents)


async def test_names_of_files_reach_no_path(working: Side, settings: Settings) -> None:
    place = await make_collection(working)
    outside = beside(settings)
    for number, name in enumerate(NAMES):
        reply = await send(working, place, b"words %d" % number, name)
        if reply.status_code != 202:
            assert reply.status_code in {400, 422}, (name, reply.text)
            continue
        shown = await settled(working, reply.json()["id"])
        assert (shown["status"], "/" in shown["filename"], len(shown["filename"]) <= 255) == ("ready", False, True)
        assert not any(ord(letter) < 32 or letter == "\u202e" for letter in shown["filename"])
        got = await working.ask("GET", f"/documents/{shown['id']}/content")
        assert "\n" not in got.headers["content-disposition"]
    assert (
        sorted(path for path in settings.data_dir.parent.rglob("*") if settings.data_dir not in path.parents) == outside
    )
    kept = [path.name for path in (settings.data_dir / "blobs").rglob("*") if path.is_file()]
    assert set(kept) <= {"file", "pages"}
