"""Every place for files keeps the promises of `BlobStore`."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PosixPath

import aiohttp
import pytest
from yarl import URL

from backend.adapters.blobs.local import LocalBlobs
from backend.adapters.blobs.s3 import PART, S3Blobs
from backend.core.errors import NotFound, StoreUnavailable
from backend.features.knowledge.ports import BlobStore
from tests.fakes.s3 import S3Server, opened_blobs


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A real server that speaks S3."""
    with S3Server() as started:
        yield started


@pytest.fixture(params=["folder", "bucket"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    if request.param == "folder":
        yield LocalBlobs(tmp_path / "blobs")
        return
    async with opened_blobs(request.getfixturevalue("server"), tmp_path) as opened:
        yield opened


@pytest.fixture
async def bucket(server: S3Server, tmp_path: Path) -> AsyncIterator[S3Blobs]:
    async with opened_blobs(server, tmp_path) as opened:
        yield opened


def made(folder: Path, data: bytes) -> Path:
    path = folder / "made"
    path.write_bytes(data)
    return path


async def content(blobs: BlobStore, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(key)])


@pytest.mark.parametrize("data", [b"", b"x", b"0123456789" * 100_000, bytes(PART), bytes(PART + 1)], ids=len)
async def test_what_was_put_is_there_whole(blobs: BlobStore, tmp_path: Path, data: bytes) -> None:
    await blobs.put("documents/a-1/1/file", made(tmp_path, data))
    assert await content(blobs, "documents/a-1/1/file") == data
    async with blobs.open("documents/a-1/1/file") as path:
        assert path.read_bytes() == data


async def test_a_file_is_put_in_the_place_of_another(blobs: BlobStore, tmp_path: Path) -> None:
    await blobs.put("a/b", made(tmp_path, b"old and longer"))
    await blobs.put("a/b", made(tmp_path, b"new"))
    assert await content(blobs, "a/b") == b"new"


async def test_what_is_not_there_is_told_and_can_be_removed(blobs: BlobStore, tmp_path: Path) -> None:
    await blobs.put("a/b", made(tmp_path, b"x"))
    for key in ("a/b", "never/there"):
        await blobs.delete(key)
        await blobs.delete(key)
        with pytest.raises(NotFound):
            await content(blobs, key)
        with pytest.raises(NotFound):
            async with blobs.open(key):
                pass


async def test_files_are_put_and_removed_at_the_same_time(blobs: BlobStore, tmp_path: Path) -> None:
    async def once(number: int) -> None:
        path = tmp_path / str(number)
        path.write_bytes(b"x")
        await blobs.put(f"same/folder/{number}", path)
        await blobs.delete(f"same/folder/{number}")

    await asyncio.gather(*map(once, range(50)))


@pytest.mark.parametrize("key", ["", "/a", "a/", "../a", "a/../b", "a\\b", "a//b", ".a", "a b", "\u00e9", "a\0"])
async def test_a_key_is_made_of_ids(blobs: BlobStore, tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        await blobs.put(key, made(tmp_path, b"x"))


async def test_a_folder_that_cannot_be_used_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"in the way")
    with pytest.raises(StoreUnavailable):
        await LocalBlobs(tmp_path / "blobs").put("a/b", made(tmp_path, b"x"))


async def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    await blobs.put("a/b/c", made(tmp_path, b"x"))
    await blobs.delete("a/b/c")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.name != "unfinished"] == []


class SlowPath(PosixPath):
    """A file that is not moved before somebody lets it go."""

    begun, may_go = threading.Event(), threading.Event()

    def rename(self, target: str | os.PathLike[str]) -> Path:
        self.begun.set()
        assert self.may_go.wait(10)
        return super().rename(target)


async def test_a_file_that_nobody_waits_for_any_more_does_not_appear_afterwards(tmp_path: Path) -> None:
    blobs, file = LocalBlobs(tmp_path / "blobs"), SlowPath(made(tmp_path, b"x"))
    putting = asyncio.create_task(blobs.put("a/b/c", file))
    await asyncio.to_thread(file.begun.wait, 10)
    putting.cancel()
    await asyncio.sleep(0.05)
    assert not putting.done()
    file.may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await blobs.delete("a/b/c")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


async def test_a_file_of_many_parts_is_whole(bucket: S3Blobs, tmp_path: Path) -> None:
    data = bytes(range(256)) * (3 * PART // 256) + b"end"
    await bucket.put("a/large", made(tmp_path, data))
    assert await content(bucket, "a/large") == data
    async with bucket.open("a/large") as path:
        assert path.read_bytes() == data
    assert not path.exists()


async def test_an_upload_that_is_cut_off_leaves_nothing(bucket: S3Blobs, server: S3Server, tmp_path: Path) -> None:
    await bucket.put("a/b", made(tmp_path, b"old"))
    for failing in (2, 3):
        server.fail_after(failing, "PUT")
        with pytest.raises(StoreUnavailable):
            await bucket.put("a/b", made(tmp_path, bytes(3 * PART)))
        server.work_again()
        assert await content(bucket, "a/b") == b"old"
        assert server.unfinished() == []


async def test_an_upload_that_cannot_be_completed_leaves_nothing(
    bucket: S3Blobs, server: S3Server, tmp_path: Path
) -> None:
    server.fail_to_complete()
    with pytest.raises(StoreUnavailable):
        await bucket.put("never/there", made(tmp_path, bytes(2 * PART)))
    server.work_again()
    assert server.unfinished() == []
    with pytest.raises(NotFound):
        await content(bucket, "never/there")


async def test_an_upload_that_is_given_up_leaves_nothing(bucket: S3Blobs, server: S3Server, tmp_path: Path) -> None:
    server.hang_after(2, "PUT")
    putting = asyncio.create_task(bucket.put("a/b", made(tmp_path, bytes(3 * PART))))
    await server.hanging()
    assert server.unfinished() == ["a/b"]
    putting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await putting
    server.work_again()
    assert server.unfinished() == []


async def test_a_reader_may_leave_early(bucket: S3Blobs, tmp_path: Path) -> None:
    await bucket.put("a/b", made(tmp_path, bytes(PART)))
    pieces = bucket.read("a/b")
    assert await anext(pieces)
    await pieces.aclose()


async def test_an_address_gives_this_file_as_an_attachment_for_a_while(
    bucket: S3Blobs, server: S3Server, tmp_path: Path
) -> None:
    await bucket.put("a/b", made(tmp_path, b"<script>"))
    url = await bucket.download_url("a/b", 'été; x="1".html', 60)
    assert url is not None
    told = "attachment; filename*=UTF-8''%C3%A9t%C3%A9%3B%20x%3D%221%22.html"
    assert url.startswith(f"{server.url}/documents/a/b?")
    assert "X-Amz-Expires=60&" in url
    async with aiohttp.ClientSession() as session, session.get(URL(url, encoded=True)) as reply:
        assert (reply.status, await reply.read()) == (200, b"<script>")
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.headers["content-disposition"] == told
    assert server.secret not in url


async def test_callers_are_sent_to_the_address_they_can_reach_or_nowhere(server: S3Server, tmp_path: Path) -> None:
    async with opened_blobs(server, tmp_path, public_url="https://files.example.org") as blobs:
        url = await blobs.download_url("a/b", "a.pdf", 60)
        assert url is not None
        assert url.startswith("https://files.example.org/documents/a/b?")
    async with opened_blobs(server, tmp_path, redirects=False) as blobs:
        assert await blobs.download_url("a/b", "a.pdf", 60) is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bucket": "nobody-has-it"}, "NoSuchBucket"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "does not answer"),
    ],
)
async def test_a_bucket_that_cannot_be_used_is_an_error_of_the_store(
    server: S3Server, tmp_path: Path, wrong: dict[str, str], told: str
) -> None:
    async with opened_blobs(server, tmp_path, **wrong) as blobs:
        with pytest.raises(StoreUnavailable, match=told):
            await blobs.put("a/b", made(tmp_path, b"x"))
        with pytest.raises(StoreUnavailable):
            await blobs.check()


async def test_a_bucket_that_is_there_is_fine(bucket: S3Blobs) -> None:
    await bucket.check()


@pytest.mark.parametrize(("status", "told"), [(503, "does not answer"), (307, "elsewhere"), (403, "AccessDenied")])
async def test_what_a_server_says_instead_is_an_error_of_the_store(
    bucket: S3Blobs, server: S3Server, tmp_path: Path, status: int, told: str
) -> None:
    server.answer_with(status)
    try:
        with pytest.raises(StoreUnavailable, match=told) as raised:
            await bucket.put("a/b", made(tmp_path, b"x"))
        assert "canary" not in str(raised.value)
        with pytest.raises(StoreUnavailable):
            await content(bucket, "a/b")
        with pytest.raises(StoreUnavailable):
            await bucket.delete("a/b")
    finally:
        server.work_again()
