"""Chroma in this process: one process on its folder, one thread that writes, small batches.

Writing holds Python's lock for as long as it takes, and every stream waits. So batches follow the clock: they shrink
until one takes a few hundredths of a second, and the writer then rests longer than it wrote (`rag.md` 1.3).
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from backend.adapters.vectors import rows
from backend.adapters.vectors.folder_lock import FolderLock
from backend.core.errors import ConfigurationError, StoreUnavailable
from backend.core.logging import get_logger

_log = get_logger(__name__)

Result = TypeVar("Result")

_SMALLEST = 8
"""A batch of four takes nearly as long as one of eight: most of it is the same for any."""


class Pace(NamedTuple):
    """How fast vectors are written."""

    largest: int
    """Vectors of one batch."""
    slow: float
    """Seconds of a batch above which the next is smaller."""
    fast: float
    """Those below which it is larger."""
    rest: float
    """How long the writer rests, in times of what the batch took."""


GENTLE = Pace(largest=32, slow=0.04, fast=0.02, rest=1.5)
"""While answers stream."""
ALONE = Pace(largest=1_000, slow=60.0, fast=30.0, rest=0.0)
"""Where nothing else runs in this process."""

_READERS, _MOST_OF_ONE = 4, 2
"""Threads that search, and how many of them one index may keep: while one that is slow is waited for, others answer."""
_DAMAGED = "the index of vectors cannot be read; it is being rebuilt"


class EmbeddedChroma:
    """Keeps indices in `folder`; opened, and Chroma loaded, when there is something to write or read.

    A folder that cannot be opened is left for a fresh one beside it: what was in it is rebuilt from the database.
    """

    def __init__(self, folder: Path, pace: Pace = GENTLE) -> None:
        self._folder = folder
        self._pace = pace
        self._lock = FolderLock(folder)
        self._client: Any = None
        self._collections: dict[str, Any] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="chroma-write")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="chroma-read")
        self._opening = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._searching: dict[str, asyncio.Semaphore] = {}
        self._batch = _SMALLEST

    async def open(self) -> None:
        """Take the folder and open what is there; raise `ConfigurationError` when another process has it."""
        async with self._opening:
            if self._client is None:
                self._lock.acquire()
                await self._in(self._writer, self._open)

    async def add(self, index: str, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        """See `VectorIndex.add`."""
        done = 0
        while done < len(numbers):
            upto = min(len(numbers), done + self._batch)
            given = rows.upsert_arguments(numbers[done:upto], vectors[done:upto])
            await self._write(lambda given=given: self._made(index).upsert(**given))  # type: ignore[misc]
            done = upto

    async def remove(self, index: str, numbers: Sequence[int]) -> None:
        """See `VectorIndex.remove`."""
        if not await self._has_any():
            return
        for start in range(0, len(numbers), _SMALLEST):
            ids = [str(number) for number in numbers[start : start + _SMALLEST]]
            await self._write(lambda ids=ids: self._delete(index, ids))  # type: ignore[misc]

    async def search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:
        """See `VectorIndex.search`.

        A thread is not stopped when nobody waits for it any more, so its place is free only once it has ended.
        """
        places = self._searching.setdefault(index, asyncio.Semaphore(_MOST_OF_ONE))
        await places.acquire()
        nothing: Sequence[tuple[int, float]] = ()
        searching = asyncio.ensure_future(self._read(lambda: self._search(index, vector, limit), nothing))
        searching.add_done_callback(lambda done: _leave(places, done))
        return await asyncio.shield(searching)

    async def count(self, index: str) -> int:
        """See `VectorIndex.count`."""
        return await self._read(lambda: self._count(index), 0)

    async def sample(self, index: str, numbers: Sequence[int]) -> Sequence[int]:
        """See `VectorIndex.sample`."""
        return await self._read(lambda: self._sample(index, numbers), ()) if numbers else ()

    async def drop(self, index: str) -> None:
        """See `VectorIndex.drop`; an index that cannot be dropped takes the folder with it, for a fresh one."""
        self._searching.pop(index, None)
        if not await self._has_any():
            return
        try:
            await self._write(lambda: self._drop(index))
        except StoreUnavailable:
            await self._in(self._writer, self._start_afresh)

    async def names(self) -> Sequence[str]:
        """See `VectorIndex.names`."""
        return await self._read(lambda: [collection.name for collection in self._client.list_collections()], ())

    async def aclose(self) -> None:
        """Finish what is being written, close the files and let go of the folder."""
        async with self._writing:
            await self._in(self._writer, self._close)
        self._writer.shutdown(wait=False)
        self._readers.shutdown(wait=False)
        self._lock.release()

    async def _has_any(self) -> bool:
        """Whether there is anything to read; opens it then."""
        if self._client is None:
            if not self._generations():
                return False
            await self._opened()
        return True

    async def _opened(self) -> None:
        try:
            await self.open()
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error

    async def _read(self, work: Callable[[], Result], nothing: Result) -> Result:
        return await self._in(self._readers, work) if await self._has_any() else nothing

    async def _write(self, work: Callable[[], object]) -> None:
        await self._opened()
        async with self._writing:
            started = time.perf_counter()
            await self._in(self._writer, work)
            took = time.perf_counter() - started
            if took > self._pace.slow:
                self._batch = max(_SMALLEST, self._batch // 2)
            elif took < self._pace.fast:
                self._batch = min(self._pace.largest, self._batch * 2)
            await asyncio.sleep(took * self._pace.rest)

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, _told, work)

    def _generations(self) -> list[Path]:
        return sorted(self._folder.glob("index-*"), key=lambda path: int(path.name.partition("-")[2] or 0))

    def _open(self) -> None:
        known = self._generations()
        if known:
            try:
                self._client = self._connect(known[-1])
            except BaseException as error:  # noqa: BLE001 (a panic of the library is none of `Exception`)
                _log.warning("vector_index_unreadable", reason=type(error).__name__)
                self._start_afresh()
        else:
            self._client = self._connect(self._folder / "index-1")
        for old in self._generations()[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def _connect(self, path: Path) -> Any:
        import chromadb  # noqa: PLC0415 (a second, and 40 MB, that only vectors need)

        settings = chromadb.config.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(path=str(path), settings=settings)
        client.list_collections()
        return client

    def _start_afresh(self) -> None:
        """Leave the folder for a new one: the library cannot open one again whose files are gone."""
        known = self._generations()
        self._close()
        number = int(known[-1].name.partition("-")[2]) + 1 if known else 1
        self._client = self._connect(self._folder / f"index-{number}")
        for old in known:
            shutil.rmtree(old, ignore_errors=True)

    def _close(self) -> None:
        client, self._client = self._client, None
        self._collections.clear()
        if client is not None:
            client.close()

    def _made(self, index: str) -> Any:
        if index not in self._collections:
            self._collections[index] = self._client.get_or_create_collection(index, **rows.COLLECTION)
        return self._collections[index]

    def _known(self, index: str) -> Any:
        from chromadb.errors import NotFoundError  # noqa: PLC0415 (loaded with the client)

        if index not in self._collections:
            try:
                self._collections[index] = self._client.get_collection(index, embedding_function=None)
            except NotFoundError:
                return None
        return self._collections[index]

    def _delete(self, index: str, ids: Sequence[str]) -> None:
        if collection := self._known(index):
            collection.delete(ids=ids)

    def _search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:
        if not (collection := self._known(index)):
            return ()
        asked = rows.matrix([vector])
        return rows.hits(collection.query(query_embeddings=asked, n_results=limit, include=["distances"]))

    def _count(self, index: str) -> int:
        collection = self._known(index)
        return collection.count() if collection else 0

    def _sample(self, index: str, numbers: Sequence[int]) -> Sequence[int]:
        if not (collection := self._known(index)):
            return ()
        kept = collection.get(ids=[str(number) for number in numbers], include=["embeddings"])
        if not kept["ids"]:
            return ()
        found = collection.query(query_embeddings=kept["embeddings"], n_results=rows.SAMPLE_HITS, include=["distances"])
        return rows.reached(kept["ids"], found)

    def _drop(self, index: str) -> None:
        from chromadb.errors import NotFoundError  # noqa: PLC0415 (loaded with the client)

        self._collections.pop(index, None)
        try:
            self._client.delete_collection(index)
        except NotFoundError:
            return


def _leave(places: asyncio.Semaphore, done: "asyncio.Future[Any]") -> None:
    places.release()
    if not done.cancelled():
        done.exception()  # nobody need be waiting any more


def _told(work: Callable[[], Result]) -> Result:
    """Turn whatever the library raises, its panics too, into the one error an index has."""
    try:
        return work()
    except BaseException as error:
        raise StoreUnavailable(_DAMAGED) from error
