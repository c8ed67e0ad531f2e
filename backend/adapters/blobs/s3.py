"""Files in a bucket of an S3 server, under their keys.

A large file is sent in parts, one after the other, and is there only once all are: what is found is whole. The client
library reads whole files into memory when it sends parts in parallel, and as a context finishes even an upload that
failed; so parts are made and given up here.
"""

import asyncio
import contextlib
import io
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree.ElementTree import ParseError

import aiohttp
from miniopy_async.api import Minio
from miniopy_async.datatypes import MultipartUploader
from miniopy_async.error import MinioException, S3Error

from backend.adapters.blobs.keys import checked_key
from backend.adapters.blobs.s3_place import S3Place
from backend.core.errors import NotFound, StoreUnavailable

PART = 5 * 2**20
"""Bytes of a part, the least that S3 takes: one is in memory at a time."""
_PIECE = 256 * 1024
_SECONDS = 120.0
"""That one request may take; for a file that is read, one piece of it."""
_GIVE_UP_SECONDS = 10.0
_GONE = frozenset({"NoSuchKey", "NoSuchObject"})
_CODE = re.compile(r"[A-Za-z0-9]{1,40}", re.ASCII)
_REDIRECTS = range(300, 400)
_ELSEWHERE = "the S3 server of documents sends us elsewhere; an administrator checks GATEWAY_S3__REGION"
_SILENT = "the S3 server of documents does not answer as it should; try again in a moment"


async def stay_there(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Follow nothing that the server says lies elsewhere: a middleware of the session that is given to `S3Blobs`."""
    response = await handler(request)
    if response.status in _REDIRECTS:
        response.close()
        raise StoreUnavailable(
            "the S3 server of documents sends us elsewhere; an administrator checks GATEWAY_S3__REGION"
        )
    return response


class S3Blobs:
    """Implements `features.knowledge.ports.BlobStore` on a bucket.

    Args:
        place: where it is.
        session: connections to it, which whoever opened them closes.
        scratch: a folder for files that are read.
    """

    def __init__(self, place: S3Place, session: aiohttp.ClientSession, scratch: Path) -> None:
        self._place = place
        self._bucket = place.bucket
        self._client = _client(place, place.endpoint_url, session)
        self._signing = _client(place, place.public_url)
        self._scratch = scratch

    async def check(self) -> None:
        """Raise `StoreUnavailable` where the bucket cannot be used."""
        async with _explained():
            is_there = await self._client.bucket_exists(self._bucket)
        if not is_there:
            raise StoreUnavailable(f"the S3 server has no bucket {self._bucket!r}; make it, or name another")

    async def put(self, key: str, file: Path) -> None:
        """See `BlobStore.put`; the file stays where it is."""
        checked_key(key)
        with file.open("rb") as opened:
            first = await asyncio.to_thread(opened.read, PART)
            if len(first) < PART:
                async with _explained():
                    # With this size of a part it is sent as it is, not read into one piece first.
                    await self._client.put_object(
                        self._bucket, key, io.BytesIO(first), len(first), part_size=len(first)
                    )
                return
            await self._put_parts(key, first, opened)

    async def _put_parts(self, key: str, part: bytes, rest: io.BufferedReader) -> None:
        async with _explained():
            uploader = self._client.multipart_uploader(self._bucket, key)
        try:
            number = 1
            while part:
                async with _explained():
                    await uploader.upload_part(io.BytesIO(part), number)
                part = await asyncio.to_thread(rest.read, PART)
                number += 1
            await _complete(uploader)
        except BaseException:
            with contextlib.suppress(Exception):  # what is left of it is for the bucket's own rules
                async with asyncio.timeout(_GIVE_UP_SECONDS):
                    await uploader.abort()  # type: ignore[no-untyped-call]
            raise

    @contextlib.asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Path]:
        """See `BlobStore.open`: a copy in the scratch folder."""
        path = self._scratch / uuid.uuid4().hex
        try:
            with path.open("xb") as out:
                async with contextlib.aclosing(self.read(key)) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(out.write, piece)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def read(self, key: str) -> AsyncGenerator[bytes]:
        """See `BlobStore.read`."""
        checked_key(key)
        async with _explained():
            response = await self._client.get_object(self._bucket, key)
        try:
            while True:
                async with _explained():
                    piece = await response.content.read(_PIECE)
                if not piece:
                    return
                yield piece
        finally:
            response.close()

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        checked_key(key)
        with contextlib.suppress(NotFound):
            async with _explained():
                await self._client.remove_object(self._bucket, key)

    async def download_url(self, key: str, filename: str, seconds: int) -> str | None:
        """See `BlobStore.download_url`: signed here, without a word to the server; whoever has it may read the file."""
        if not self._place.redirects:
            return None
        url: str = await self._signing.presigned_get_object(
            self._bucket,
            checked_key(key),
            expires=timedelta(seconds=seconds),
            response_headers={
                "response-content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
                "response-content-type": "application/octet-stream",
                "response-cache-control": "private, no-store",
            },
        )
        return url


def _client(place: S3Place, url: str, session: aiohttp.ClientSession | None = None) -> Minio:
    """Return the library's client of an address; one without a session can only sign."""
    parts = urlsplit(url)
    return Minio(
        parts.netloc,
        access_key=place.access_key_id,
        secret_key=place.secret_access_key,
        secure=parts.scheme == "https",
        region=place.region,
        session=session,
    )


async def _complete(uploader: MultipartUploader) -> None:
    async with _explained():
        done = await uploader.complete()
    if not done.etag:  # a failure may come with status 200
        raise StoreUnavailable(_SILENT)


@contextlib.asynccontextmanager
async def _explained() -> AsyncIterator[None]:
    """Bound one request, and turn what goes wrong into an error of ours."""
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except S3Error as error:
        if error.code in _GONE:
            raise NotFound("this file is not there any more") from None
        code = error.code if error.code and _CODE.fullmatch(error.code) else "an error without a name"
        raise StoreUnavailable(f"the S3 bucket of documents cannot be used: {code}") from None
    except (MinioException, aiohttp.ClientError, OSError, ParseError):
        raise StoreUnavailable(_SILENT) from None
