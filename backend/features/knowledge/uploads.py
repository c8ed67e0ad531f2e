"""Receives a form with one file into a folder: bounded and hashed as it comes, its kind found from its bytes."""

import asyncio
import contextlib
import hashlib
import io
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from backend.core.errors import InvalidRequest, PayloadTooLarge, Unprocessable
from backend.extraction.archives import check_archive, check_directory
from backend.extraction.kinds import HEAD, Kind, sniff
from backend.extraction.pages import Unreadable
from backend.features.knowledge.names import clean_filename
from backend.wire.multipart import FormReader

FORM_BYTES = 64 * 1024
"""Of a form beside its file."""
_PIECE_SECONDS = 30.0
_BUFFER = 2**20
_NO_IMAGES = "pictures are not read here, since text recognition is off; ask an administrator to turn it on"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file that lies in our folder."""

    path: Path
    filename: str
    size: int
    sha256: str
    mime_type: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """The other fields of its form."""


@contextlib.asynccontextmanager
async def receive_file(
    pieces: AsyncIterator[bytes], content_type: str, folder: Path, max_bytes: int, *, with_images: bool
) -> AsyncGenerator[ReceivedFile]:
    """Give the file of a form while the context lasts; `with_images` says that pictures are read here.

    Raises `PayloadTooLarge`, `InvalidRequest` for what is no form or does not go on arriving, and `Unprocessable` for
    a kind of file that nobody reads.
    """
    reader = FormReader(content_type)
    path = folder / uuid.uuid4().hex
    try:
        with path.open("xb") as out:
            digest, size = await _receive(pieces, reader, out, max_bytes)
        if reader.filename is None:
            raise InvalidRequest("send the document as the field 'file' of the form, with its name")
        described = await describe(path, reader.filename, size, digest, with_images=with_images)
        yield replace(described, fields=reader.fields)
    finally:
        path.unlink(missing_ok=True)


async def describe(path: Path, filename: str, size: int, sha256: str, *, with_images: bool) -> ReceivedFile:
    """Return what is known of a file that lies in our folder; raise `Unprocessable` for one that nobody reads."""
    name = clean_filename(filename)
    try:
        kind = await asyncio.to_thread(_kind, path, name)
    except Unreadable as error:
        raise Unprocessable(str(error)) from None
    if kind.is_image and not with_images:
        raise Unprocessable(_NO_IMAGES)
    return ReceivedFile(path, name, size, sha256, kind.value)


async def _receive(
    pieces: AsyncIterator[bytes], reader: FormReader, out: io.BufferedWriter, max_bytes: int
) -> tuple[str, int]:
    digest, size, buffer = hashlib.sha256(), 0, bytearray()

    def write(data: bytes) -> None:
        digest.update(data)
        out.write(data)

    while (piece := await _next(pieces)) is not None:
        buffer += reader.feed(piece)
        if size + len(buffer) > max_bytes:
            raise PayloadTooLarge(f"this document is over {max_bytes} bytes; split it or leave images out")
        if len(buffer) >= _BUFFER:
            size += len(buffer)
            await asyncio.to_thread(write, bytes(buffer))
            buffer.clear()
    reader.finish()
    size += len(buffer)
    await asyncio.to_thread(write, bytes(buffer))
    return digest.hexdigest(), size


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_PIECE_SECONDS):
            return await anext(pieces, None)
    except TimeoutError:
        raise InvalidRequest(f"the document stopped arriving for {_PIECE_SECONDS:g} s; send it again") from None


def _kind(path: Path, name: str) -> Kind:
    with path.open("rb") as file:
        head = file.read(HEAD)
        if not head.startswith(_ZIP):
            return sniff(head, name)
        data = head + file.read()
    check_directory(data)
    check_archive(data)
    return sniff(data, name)
