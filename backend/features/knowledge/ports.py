"""What knowledge needs from outside: a place for files, a reader of documents, vectors and their index, chats."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from backend.extraction.pages import Page
from backend.features.auth.principal import Principal

Purpose = Literal["document", "query"]
"""Some models want to know which of the two a text is."""


class BlobStore(Protocol):
    """Keeps files under keys made of ids: letters, digits, `-` and `/`.

    Raises `StoreUnavailable` when it does not answer. What `put` returned from is there after a loss of power.
    """

    async def put(self, key: str, file: Path) -> None:
        """Keep a copy of a local file, or the file itself; the caller's is not needed any more afterwards."""
        ...

    def open(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Give a local file to read while the context lasts; raise `NotFound` when there is none."""
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """Yield the file's bytes; raise `NotFound` when there is none."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a file; one that is not there is removed already."""
        ...

    async def download_url(self, key: str, filename: str, seconds: int) -> str | None:
        """Return an address that gives this one file as an attachment for a while; None where there are none."""
        ...


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which embedder made a vector; vectors of different ones are never compared."""

    value: str
    """Sixteen characters fit for a name."""
    provider: str
    model: str
    dimensions: int


class TextEmbedder(Protocol):
    """Makes vectors of texts: batched, retried, at length one."""

    async def fingerprint(self) -> Fingerprint:
        """Return which embedder this is; may ask it once for its dimensions. Raises `GatewayError` when it is away."""
        ...

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:
        """Return one vector per text in their order, as little-endian float32; raise `GatewayError` when it is away."""
        ...


class VectorIndex(Protocol):
    """Finds the nearest vectors; rebuildable at any time, so it keeps numbers of passages and vectors, no texts.

    An index has a name of letters, digits and `_`. All methods may be called concurrently; writes are taken one after
    the other, in small pieces, so that streams go on. Raises `StoreUnavailable` when it does not answer or is damaged.
    """

    async def add(self, index: str, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        """Add vectors, or put them in the place of those with the same numbers."""
        ...

    async def remove(self, index: str, numbers: Sequence[int]) -> None:
        """Remove vectors; those that are not there are removed already."""
        ...

    async def search(self, index: str, vector: bytes, limit: int) -> Sequence[tuple[int, float]]:
        """Return the nearest numbers with their cosine, nearest first; nothing for an index that is not there."""
        ...

    async def count(self, index: str) -> int:
        """Return how many vectors an index says it has."""
        ...

    async def sample(self, index: str, numbers: Sequence[int]) -> Sequence[int]:
        """Return which of these numbers can really be found by their own vector: a count alone detects no loss."""
        ...

    async def drop(self, index: str) -> None:
        """Remove a whole index."""
        ...

    async def names(self) -> Sequence[str]:
        """Return all indices there are."""
        ...


class DocumentReader(Protocol):
    """Reads documents of strangers where they do no harm."""

    def read(self, path: Path, name: str) -> AsyncGenerator[Page]:
        """Yield the pages of a document, to be closed if left early; raise `Unreadable` when it has none."""
        ...


class Ocr(Protocol):
    """Reads scans and pictures elsewhere: what is given to it leaves the house."""

    async def read(self, path: Path, media_type: str, pages: Sequence[int]) -> Sequence[Page]:
        """Return what stands on these pages of a document, from 1 and ascending; some may have nothing.

        Raises `Unreadable` for a document it refuses, `GatewayError` for what may go better later.
        """
        ...


class Indexer(Protocol):
    """Makes passages findable by their vectors; a stage of ingestion each.

    All may be asked again after they were cut off, and leave then what once would have. They read the passages from
    the store (`chunks`) and raise `GatewayError` for what may go better later. What only vectors lack keeps no document
    from being found by its words: then `embed` and `index` return what its readers should know, else "".
    """

    async def embed(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> str:
        """Make the vectors of a version's passages; `report` takes percents."""
        ...

    async def index(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> str:
        """Put the vectors into the index."""
        ...

    async def remove(self, document_id: uuid.UUID, *, but: int | None = None) -> None:
        """Take a document out of the index, except for one version; its passages are still in the store."""
        ...


class KeywordOnly:
    """An `Indexer` for a gateway without vectors."""

    async def embed(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> str:  # noqa: ARG002
        """Do nothing: keywords are indexed with the passages."""
        return ""

    async def index(self, document_id: uuid.UUID, version: int, report: Callable[[int], None]) -> str:  # noqa: ARG002
        """Do nothing."""
        return ""

    async def remove(self, document_id: uuid.UUID, *, but: int | None = None) -> None:
        """Do nothing."""


class ChatReader(Protocol):
    """Knows whose chats are whose."""

    async def may_read(self, principal: Principal, chat_id: uuid.UUID) -> bool:
        """Whether a chat is the caller's."""
        ...


class NoChats:
    """A `ChatReader` for a gateway that keeps no chats."""

    async def may_read(self, principal: Principal, chat_id: uuid.UUID) -> bool:  # noqa: ARG002 (nobody has any)
        """Return no."""
        return False
