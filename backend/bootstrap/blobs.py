"""Opens the place for files of documents: a folder of ours, or a bucket of an S3 server."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from backend.adapters.blobs.local import LocalBlobs
from backend.adapters.blobs.s3_place import S3Place
from backend.core.config import Settings
from backend.core.errors import ConfigurationError
from backend.features.knowledge.ports import BlobStore
from backend.providers.http import tls_context

if TYPE_CHECKING:
    from backend.adapters.blobs.s3 import S3Blobs

_FOLDER = "blobs"
_READ_SECONDS = 60.0


async def open_blobs(settings: Settings, stack: contextlib.AsyncExitStack, scratch: Path) -> BlobStore:
    """Return the place for files, closed by the stack; no server is asked yet."""
    place = s3_place(settings)
    if place is None:
        return LocalBlobs(settings.data_dir / _FOLDER)
    return await _open_bucket(settings, place, stack, scratch)


async def check_blobs(settings: Settings, place: S3Place) -> None:
    """Raise `StoreUnavailable` where a bucket cannot be used."""
    async with contextlib.AsyncExitStack() as stack:
        await (await _open_bucket(settings, place, stack, settings.data_dir)).check()


async def _open_bucket(
    settings: Settings, place: S3Place, stack: contextlib.AsyncExitStack, scratch: Path
) -> "S3Blobs":
    from backend.adapters.blobs.s3 import S3Blobs, stay_there  # noqa: PLC0415 (a tenth of a second to load)

    ca_file = None if settings.tls.ca_file is None else str(settings.tls.ca_file)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.timeouts.connect_seconds, sock_read=_READ_SECONDS)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls_context(ca_file)),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        trust_env=False,
        auto_decompress=False,
        middlewares=(stay_there,),
    )
    return S3Blobs(place, await stack.enter_async_context(session), scratch)


def s3_place(settings: Settings) -> S3Place | None:
    """Return the bucket that was configured, or None; raise `ConfigurationError` for half of one."""
    url, wanted = settings.s3_endpoint_url, settings.s3
    if url is None:
        return None
    if not wanted.bucket or wanted.access_key_id is None or wanted.secret_access_key is None:
        raise ConfigurationError(
            "S3_ENDPOINT_URL needs GATEWAY_S3__BUCKET, GATEWAY_S3__ACCESS_KEY_ID and GATEWAY_S3__SECRET_ACCESS_KEY; "
            "set all of them"
        )
    public_url = wanted.public_url or url
    for name, address in (("S3_ENDPOINT_URL", url), ("GATEWAY_S3__PUBLIC_URL", public_url)):
        if urlsplit(address).path:
            raise ConfigurationError(f"{name} must be the address of a server alone, such as https://s3.example.org")
    return S3Place(
        endpoint_url=url,
        bucket=wanted.bucket,
        region=wanted.region,
        access_key_id=wanted.access_key_id.get_secret_value(),
        secret_access_key=wanted.secret_access_key.get_secret_value(),
        public_url=public_url,
        redirects=wanted.redirect,
    )
