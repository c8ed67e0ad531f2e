"""Files in a folder of the gateway's own, under their keys.

A file is written beside its place, flushed to the disk and then put there in one step, so what is found is whole.
"""

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from backend.adapters.blobs.keys import checked_key
from backend.core.errors import NotFound, StoreUnavailable

Result = TypeVar("Result")

_PIECE = 256 * 1024
_UNFINISHED = "unfinished"
"""Folder of what is being written; no key begins with it."""


class LocalBlobs:
    """Implements `features.knowledge.ports.BlobStore` on a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, file: Path) -> None:
        """See `BlobStore.put`; the file itself is taken where it lies on the same disk."""
        await self._run(lambda: self._put(self._path(key), file))

    @contextlib.asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Path]:
        """See `BlobStore.open`."""
        path = self._path(key)
        if not await self._run(path.is_file):
            raise NotFound("this file is not there any more")
        yield path

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """See `BlobStore.read`."""
        path = self._path(key)
        file = await self._run(lambda: path.open("rb"))
        try:
            while piece := await self._run(lambda: file.read(_PIECE)):
                yield piece
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`; folders that it leaves empty go too."""
        await self._run(lambda: self._delete(self._path(key)))

    async def download_url(self, key: str, filename: str, seconds: int) -> None:  # noqa: ARG002 (a folder has none)
        """Return None: only the gateway gives these files."""
        return

    def _path(self, key: str) -> Path:
        if checked_key(key).startswith(f"{_UNFINISHED}/"):
            raise ValueError(f"{key!r} is no key")
        return self._folder / key

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Do something in a thread; whoever is cancelled meanwhile leaves only once it is done.

        Else a file could appear that somebody has removed since.
        """
        working = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            raise
        except FileNotFoundError:
            raise NotFound("this file is not there any more") from None
        except OSError as error:
            reason = (error.strerror or "error").lower()
            raise StoreUnavailable(f"the gateway's folder of documents cannot be used: {reason}") from error

    def _put(self, target: Path, file: Path) -> None:
        unfinished = self._folder / _UNFINISHED
        unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = unfinished / uuid.uuid4().hex
        try:
            try:
                file.rename(own)
            except OSError:
                shutil.copyfile(file, own)
            own.chmod(0o600)
            _flush(own)
            _place(own, target)
        finally:
            own.unlink(missing_ok=True)
        for folder in self._folders(target):
            _flush(folder)

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        for folder in self._folders(path):
            try:
                folder.rmdir()
            except OSError:
                return

    def _folders(self, path: Path) -> Iterator[Path]:
        """Yield the folders around a file, innermost first, up to and without our own."""
        yield from (folder for folder in path.parents if self._folder in folder.parents)


def _place(own: Path, target: Path) -> None:
    """Move a file to its place; its folder may be removed, when it becomes empty, between making and using it."""
    for _ in range(10):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            own.replace(target)
            return
    own.replace(target)


def _flush(path: Path) -> None:
    """Wait until what the system holds of a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
