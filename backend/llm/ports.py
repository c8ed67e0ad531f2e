"""What the pipeline needs from a provider, and what an encoder is.

One small required protocol per ability; a backend offers an ability by its provider having the method, and callers
ask with `isinstance`. All methods may be called concurrently from one event loop.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

from backend.core.errors import GatewayError
from backend.llm.capabilities import ModelInfo
from backend.llm.digests import BlobDigest
from backend.llm.events import ChatEvent
from backend.llm.types import ChatRequest, CompletionRequest, Embeddings, EmbedRequest, WireSource


class EventStream(Protocol):
    """One open upstream answer: an async iterator of event lists that owns its connection.

    Each list is what one network read held and is never empty. The iterator ends after the list with `Finished`;
    it raises `ProviderError` when the upstream fails, stalls or ends early.
    """

    def __aiter__(self) -> "EventStream": ...

    async def __anext__(self) -> Sequence[ChatEvent]:
        """Return the next events."""
        ...

    async def aclose(self) -> None:
        """Close the upstream connection, or give it back when the answer is complete; may be called twice."""
        ...


class LineStream(Protocol):
    """One open upstream answer as bytes of whole lines, untouched; otherwise as `EventStream`."""

    content_type: str

    @property
    def finished(self) -> bool:
        """Whether the lines given last completed the answer."""
        ...

    def __aiter__(self) -> "LineStream": ...

    async def __anext__(self) -> bytes:
        """Return the next bytes: one or more whole lines."""
        ...

    def last_line(self) -> Mapping[str, Any]:
        """Return the decoded line that completed the answer, or an empty mapping when it never came."""
        ...

    async def aclose(self) -> None:
        """Close the upstream connection; may be called twice."""
        ...


@runtime_checkable
class ChatProvider(Protocol):
    """Continues conversations."""

    async def open_chat(self, request: ChatRequest) -> EventStream:
        """Send the request and return once the upstream has accepted it; raise `ProviderError` if it does not."""
        ...


@runtime_checkable
class Completer(Protocol):
    """Continues text without a template and fills gaps."""

    async def open_completion(self, request: CompletionRequest) -> EventStream:
        """As `open_chat`; raise `UnsupportedFeature` for a model that cannot."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per input, in order, as the upstream gave them (not normalised)."""
        ...


@runtime_checkable
class ModelLister(Protocol):
    """Knows which models its upstream offers."""

    async def list_models(self) -> Sequence[ModelInfo]:
        """Ask the upstream; raise `ProviderError` when it does not answer."""
        ...


@runtime_checkable
class Passthrough(Protocol):
    """Speaks a wire format that clients speak too, so that answers can be passed on untouched."""

    async def open_lines(self, source: WireSource) -> LineStream:
        """Send the source's body to the same path upstream and return the open answer."""
        ...


@runtime_checkable
class ModelServer(Protocol):
    """A server that keeps models itself: it describes, loads, downloads, makes and removes them (Ollama).

    Names are the server's own. Whoever calls has checked that the caller may change what is there.
    """

    async def show(self, model: str, *, verbose: bool) -> Mapping[str, Any]:
        """Return the upstream's own description of a model."""
        ...

    async def running(self) -> Sequence[Mapping[str, Any]]:
        """Return the upstream's own list of loaded models."""
        ...

    def pull(self, model: str) -> AsyncIterator[Mapping[str, Any]]:
        """Download a model; yield progress objects; raise `ProviderError` when it fails."""
        ...

    def create(self, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """Make a model from a checked body of `/api/create`; otherwise as `pull`."""
        ...

    def push(self, model: str) -> AsyncIterator[Mapping[str, Any]]:
        """Upload a model to the registry its name points to; otherwise as `pull`."""
        ...

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name; raise `ModelNotFound` when the source is not there."""
        ...

    async def delete(self, model: str) -> None:
        """Remove a model; raise `ModelNotFound` when it is not there."""
        ...

    async def has_blob(self, digest: BlobDigest) -> bool:
        """Whether a file with this digest is stored."""
        ...

    async def put_blob(self, digest: BlobDigest, pieces: AsyncIterator[bytes]) -> None:
        """Store a file; at most a few pieces are held at a time, and the next is asked for once one is on its way.

        What `pieces` raises is raised here, and the upload is broken off: the server then stores nothing. Raises
        `InvalidRequest` when `pieces` stalls, `ProviderError` when the server does or refuses.
        """
        ...


class Encoder(Protocol):
    """Writes one answer in a client's wire format; one object per response, so it may keep state."""

    content_type: str
    """Of the answer when it is streamed; a whole reply is always JSON."""

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Return the bytes these events become; may be empty."""
        ...

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the bytes that tell a client in mid-answer that it failed."""
        ...


class Answer(Protocol):
    """An async iterator of bytes, primed: its first bytes are at hand, so an early failure was already raised.

    Whoever holds it must `aclose` it, whatever happens; that closes the upstream and settles usage, once.
    """

    finished: bool
    """Whether the bytes given last were the last."""
    content_type: str
    """Of the pieces; a whole body is always JSON."""
    is_streamed: bool
    """Whether the client wants the pieces as they come; otherwise it gets all of them as one body."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> bytes:
        """Return the next bytes, never empty; raise `GatewayError` when the answer fails."""
        ...

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the bytes that tell a client in mid-answer that it failed."""
        ...

    async def aclose(self) -> None:
        """Release everything; may be called twice."""
        ...
