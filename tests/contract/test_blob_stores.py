"""Every place for files keeps the promises of `BlobStore`."""

import asyncio
from pathlib import Path

import pytest

from backend.adapters.blobs.local import LocalBlobs
from backend.core.errors import NotFound, StoreUnavailable
from backend.features.knowledge.ports import BlobStore


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return LocalBlobs(tmp_path / "blobs")


def made(folder: Path, data: bytes) -> Path:
    path = folder / "made"
    path.write_bytes(data)
    return path


async def content(blobs: BlobStore, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(key)])


@pytest.mark.parametrize("data", [b"", b"x", b"0123456789" * 100_000], ids=len)
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
