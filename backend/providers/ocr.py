"""Mistral's text recognition: `POST /v1/ocr`. A document goes there as a whole, and only its scans are asked about."""

import asyncio
import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backend.extraction.pages import Page, Unreadable
from backend.llm.errors import ModelNotFound, ProviderProtocolError, ProviderRejected
from backend.providers.http import Upstream
from backend.wire.jsontext import encode_json

_PATH = "/v1/ocr"
_MAX_BYTES = 50 * 10**6
_PIECE = 3 * 2**20
"""Bytes written as text at once, so that others get their turn; a multiple of three, so that the pieces fit."""
_HERE = "<the file>"
_PICTURE = re.compile(r"!\[[^\]\n]{0,300}+\]\([^)\n]{0,1000}+\)")
"""Within bounds: what a picture says is somebody else's, and may begin such a mark ten thousand times."""
_TOO_LARGE = "this document is too large for text recognition, which takes 50 MB; split it"


class _Page(msgspec.Struct):
    index: int
    markdown: str


class _Reply(msgspec.Struct):
    pages: list[_Page]


class MistralOcr:
    """Implements `features.knowledge.ports.Ocr`."""

    def __init__(self, upstream: Upstream, model: str) -> None:
        self._upstream = upstream
        self._model = model

    async def read(self, path: Path, media_type: str, pages: Sequence[int]) -> Sequence[Page]:
        """See `Ocr.read`; what the service is too busy for is tried again by whoever reads the document."""
        body = await asyncio.to_thread(self._body, path, media_type, pages)
        try:
            reply = await self._upstream.post_large(_PATH, body)
        except ProviderRejected as error:
            raise Unreadable(f"text recognition takes no such document: {error.message}") from None
        except ModelNotFound:
            raise Unreadable(
                f"Mistral has no model {self._model!r} for text recognition; an administrator corrects "
                "GATEWAY_KNOWLEDGE__OCR_MODEL"
            ) from None
        return await asyncio.to_thread(self._pages, reply, pages)

    def _body(self, path: Path, media_type: str, pages: Sequence[int]) -> bytes:
        if path.stat().st_size > _MAX_BYTES:
            raise Unreadable(_TOO_LARGE)
        body: Mapping[str, Any] = {
            "model": self._model,
            "document": {"type": "document_url", "document_url": _HERE},
            "pages": [number - 1 for number in pages],
            "include_image_base64": False,
        }
        if media_type.startswith("image/"):
            document = {"type": "image_url", "image_url": _HERE}
            body = {"model": self._model, "document": document, "include_image_base64": False}
        before, _, after = encode_json(body).partition(_HERE.encode())
        return b"".join([before, f"data:{media_type};base64,".encode(), *_encoded(path), after])

    def _pages(self, reply: bytes, asked: Sequence[int]) -> list[Page]:
        """Return what was read; pages are told by their number in the document, or counted among those asked for."""
        try:
            told = msgspec.json.decode(reply, type=_Reply).pages
        except msgspec.DecodeError:
            raise ProviderProtocolError(
                f"backend {self._upstream.name!r} sent recognised text that cannot be read"
            ) from None
        texts = {page.index + 1: _PICTURE.sub("", page.markdown).strip() for page in told}
        if not texts.keys() <= set(asked):
            texts = {asked[index - 1]: text for index, text in texts.items() if 0 < index <= len(asked)}
        return [Page(number, texts[number]) for number in sorted(texts)]


def _encoded(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield base64.b64encode(piece)
