"""Chroma as a server: one at an address, or a child of this process.

It has no way to know who asks, so it must be reachable for the gateway alone; who may read what is decided here.
"""

import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from backend.adapters.vectors import rows
from backend.core.errors import StoreUnavailable

Result = TypeVar("Result")

_ROWS = 32
"""Vectors of one request: writing them as JSON takes the loop's time."""
_SECONDS = 20.0
_PAGE = 500
_SILENT = "the Chroma server does not answer; start it, or correct CHROMA_URL"


class ChromaServer(Protocol):
    """Where a server is."""

    async def address(self) -> str:
        """Return its address, starting it if that is ours to do; raise `StoreUnavailable` when it is not there."""
        ...

    async def aclose(self) -> None:
        """Stop it, if it is ours."""
        ...


class ServerAt:
    """A server that somebody else runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def address(self) -> str:
        """See `ChromaServer.address`."""
        return self._url

    async def aclose(self) -> None:
        """See `ChromaServer.aclose`."""


class HttpChroma:
    """Keeps indices on a server."""

    def __init__(self, server: ChromaServer) -> None:
        self._server = server
        self._client: Any = None
        self._address = ""
        self._collections: dict[str, Any] = {}
        self._connecting = asyncio.Lock()
        self._writing = asyncio.Lock()

    async def add(self, index: str, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        """See `VectorIndex.add`."""
        for start in range(0, len(numbers), _ROWS):
            given = rows.upsert_arguments(numbers[start : start + _ROWS], vectors[start : start + _ROWS])

            async def upsert(given: dict[str, Any] = given) -> None:
                await (await self._made(index)).upsert(**given)

            async with self._writing:
                await self._twice(index, upsert)
            await asyncio.sleep(0)

    async def remove(self, index: str, numbers: Sequence[int]) -> None:
        """See `VectorIndex.remove`."""
        for start in range(0, len(numbers), _PAGE):
            ids = [str(number) for number in numbers[start : start + _PAGE]]

            async def delete(ids: list[str] = ids) -> None:
                if collection := await self._known(index):
                    await collection.delete(ids=ids)

            async with self._writing:
                await self._twice(index, delete)

    async def search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:
        """See `VectorIndex.search`."""

        async def query() -> Sequence[tuple[int, float]]:
            if not (collection := await self._known(index)):
                return ()
            asked = rows.matrix([vector])
            return rows.hits(await collection.query(query_embeddings=asked, n_results=limit, include=["distances"]))

        return await self._twice(index, query)

    async def count(self, index: str) -> int:
        """See `VectorIndex.count`."""

        async def count() -> int:
            collection = await self._known(index)
            return int(await collection.count()) if collection else 0

        return await self._twice(index, count)

    async def sample(self, index: str, numbers: Sequence[int]) -> Sequence[int]:
        """See `VectorIndex.sample`."""

        async def sample() -> Sequence[int]:
            if not numbers or not (collection := await self._known(index)):
                return ()
            kept = await collection.get(ids=[str(number) for number in numbers], include=["embeddings"])
            if not kept["ids"]:
                return ()
            found = await collection.query(
                query_embeddings=kept["embeddings"], n_results=rows.SAMPLE_HITS, include=["distances"]
            )
            return rows.reached(kept["ids"], found)

        return await self._twice(index, sample)

    async def drop(self, index: str) -> None:
        """See `VectorIndex.drop`."""

        async def drop() -> None:
            if await self._known(index):
                self._collections.pop(index, None)
                await self._client.delete_collection(index)

        async with self._writing:
            await self._twice(index, drop)

    async def names(self) -> Sequence[str]:
        """See `VectorIndex.names`."""

        async def names() -> Sequence[str]:
            found: list[str] = []
            while page := await self._client.list_collections(limit=_PAGE, offset=len(found)):
                found += [collection.name for collection in page]
            return found

        return await self._twice("", names)

    async def aclose(self) -> None:
        """Let go of the server, and stop it if it is ours."""
        await self._disconnect()
        await self._server.aclose()

    async def _twice(self, index: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do something; once more when the index was made anew meanwhile, or the server was busy or is a new one."""
        try:
            return await self._bounded(work)
        except StoreUnavailable:
            self._collections.pop(index, None)
            await asyncio.sleep(0.1)
            return await self._bounded(work)

    async def _bounded(self, work: Callable[[], Awaitable[Result]]) -> Result:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._connect()
                return await work()
        except StoreUnavailable:
            raise
        except Exception as error:
            raise StoreUnavailable(_SILENT) from error

    async def _connect(self) -> None:
        async with self._connecting:
            address = await self._server.address()
            if self._client is not None and address == self._address:
                return
            await asyncio.to_thread(importlib.import_module, "chromadb")
            import chromadb  # noqa: PLC0415 (loaded in the line above, off the loop)

            where = urlsplit(address)
            is_tls = where.scheme == "https"
            await self._disconnect()
            self._client = await chromadb.AsyncHttpClient(
                host=address if where.path else where.hostname or "",
                port=where.port or (443 if is_tls else 80),
                ssl=is_tls,
                # Unless told to, the library does not check who answers at an https address.
                settings=chromadb.config.Settings(anonymized_telemetry=False, chroma_server_ssl_verify=True),
            )
            self._address = address

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._collections.clear()
        if client is not None:
            with contextlib.suppress(Exception):
                await client._server._cleanup()  # noqa: SLF001 (there is no other way to close its connections)

    async def _made(self, index: str) -> Any:
        if index not in self._collections:
            self._collections[index] = await self._client.get_or_create_collection(index, **rows.COLLECTION)
        return self._collections[index]

    async def _known(self, index: str) -> Any:
        from chromadb.errors import NotFoundError  # noqa: PLC0415 (loaded with the client)

        if index not in self._collections:
            try:
                self._collections[index] = await self._client.get_collection(index, embedding_function=None)
            except NotFoundError:
                return None
        return self._collections[index]
