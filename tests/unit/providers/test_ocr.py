"""Mistral's text recognition: what is sent, what is believed of the reply, and what failures mean."""

import base64
import json
from pathlib import Path

import pytest

from backend.extraction.pages import Page, Unreadable
from backend.llm.errors import (
    ProviderAuthFailed,
    ProviderError,
    ProviderFailed,
    ProviderProtocolError,
    ProviderRateLimited,
)
from backend.providers.ocr import MistralOcr
from tests.fakes.providers import Answer, MockUpstream

DATA = bytes(range(256)) * 40_000
PDF = "application/pdf"


def reply(*pages: tuple[int, str]) -> Answer:
    return Answer(json.dumps({"pages": [{"index": i, "markdown": text, "images": []} for i, text in pages]}).encode())


async def read(folder: Path, mock: MockUpstream, media_type: str = PDF, pages: tuple[int, ...] = (2, 5)) -> list[Page]:
    path = folder / "document"
    path.write_bytes(DATA)
    return list(await MistralOcr(mock.upstream, "ocr").read(path, media_type, pages))


async def test_a_document_is_sent_whole_and_asked_for_its_scans(tmp_path: Path) -> None:
    mock = MockUpstream(reply((4, "# Five\n\n![img-0.jpeg](img-0.jpeg)\n"), (1, "two")))
    assert await read(tmp_path, mock) == [Page(2, "two"), Page(5, "# Five")]
    [asked] = mock.asked
    assert (asked.method, asked.path, asked.headers["authorization"]) == ("POST", "/v1/ocr", "Bearer up-key")
    url = asked.body["document"].pop("document_url")
    assert url.startswith("data:application/pdf;base64,")
    assert base64.b64decode(url.partition(",")[2], validate=True) == DATA
    assert asked.body == {
        "model": "ocr",
        "document": {"type": "document_url"},
        "pages": [1, 4],
        "include_image_base64": False,
    }


async def test_a_picture_is_sent_as_one(tmp_path: Path) -> None:
    mock = MockUpstream(reply((0, "seen")))
    assert await read(tmp_path, mock, "image/png", (1,)) == [Page(1, "seen")]
    [asked] = mock.asked
    assert asked.body["document"]["image_url"].startswith("data:image/png;base64,")
    assert "pages" not in asked.body


async def test_pages_that_are_counted_anew_are_those_asked_for(tmp_path: Path) -> None:
    assert await read(tmp_path, MockUpstream(reply((0, "two"), (1, "five"), (7, "no")))) == [
        Page(2, "two"),
        Page(5, "five"),
    ]


async def test_places_of_pictures_are_taken_out_whatever_else_looks_like_them(tmp_path: Path) -> None:
    assert await read(tmp_path, MockUpstream(reply((1, "a ![img-0.jpeg](img-0.jpeg) b"), (4, "![]()c")))) == [
        Page(2, "a  b"),
        Page(5, "c"),
    ]
    for begun in ("![", "![](", "![x]("):  # looked at again and again, each would take hours
        [page, *_] = await read(tmp_path, MockUpstream(reply((1, begun * 100_000))))
        assert page.text == begun * 100_000


@pytest.mark.parametrize("body", [b"no JSON", b"{}", b'{"pages": [{"index": "x", "markdown": 1}]}'])
async def test_a_reply_that_cannot_be_read_is_an_error(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(ProviderProtocolError, match="cannot be read"):
        await read(tmp_path, MockUpstream(Answer(body)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, ProviderRateLimited), (500, ProviderFailed), (503, ProviderError), (401, ProviderAuthFailed)],
)
async def test_what_may_go_better_later_is_an_error_of_the_backend(
    tmp_path: Path, status: int, kind: type[ProviderError]
) -> None:
    with pytest.raises(kind):
        await read(tmp_path, MockUpstream(Answer(b"{}", status)))


@pytest.mark.parametrize(
    ("status", "told"), [(400, "takes no such document"), (422, "no such"), (404, "GATEWAY_KNOWLEDGE__OCR_MODEL")]
)
async def test_what_never_will_is_a_reason(tmp_path: Path, status: int, told: str) -> None:
    with pytest.raises(Unreadable, match=told):
        await read(tmp_path, MockUpstream(Answer(b'{"message": "bad file"}', status)))


async def test_what_is_too_large_is_not_sent(tmp_path: Path) -> None:
    mock = MockUpstream(reply())
    path = tmp_path / "document"
    with path.open("wb") as file:
        file.truncate(50_000_001)
    with pytest.raises(Unreadable, match="50 MB"):
        await MistralOcr(mock.upstream, "ocr").read(path, PDF, (1,))
    assert mock.asked == []
