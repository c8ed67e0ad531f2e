"""A document's progress as server-sent events, until nothing more happens by itself."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Self

import msgspec

from backend.core.errors import GatewayError, NotFound
from backend.features.auth.principal import Principal
from backend.features.knowledge.document_service import DocumentService
from backend.features.knowledge.progress import Progress
from backend.features.knowledge.states import Stage, State, Status, state_of

_LOOK_SECONDS = 1.0
"""How often the store is asked: another process may be at work, and rights may be gone."""
_LOOKS_PER_SIGN = 15
_SIGN = b": still here\n\n"


class ByteAnswer:
    """Bytes as an `Answer` that is streamed."""

    def __init__(self, pieces: AsyncIterator[bytes], content_type: str) -> None:
        self.finished = False
        self.content_type = content_type
        self.is_streamed = True
        self._pieces = pieces

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        return await anext(self._pieces)

    def encode_error(self, error: GatewayError) -> bytes:  # noqa: ARG002 (a cut connection says it)
        """Return nothing: there is no place for it in a file."""
        return b""

    async def aclose(self) -> None:
        """Close what the bytes come from."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


async def watch(
    documents: DocumentService, progress: Progress, principal: Principal, document_id: uuid.UUID
) -> AsyncIterator[bytes]:
    """Yield an event for the state a document is in and every one it comes to; rights are asked again on the way."""
    with progress.watching(document_id) as queue:
        last = state_of((await documents.get(principal, document_id)).document)
        yield _event(last)
        looks = 0
        while not last.is_settled:
            state = await _next(queue)
            if state is None:
                looks += 1
                try:
                    state = state_of((await documents.get(principal, document_id)).document)
                except NotFound:
                    yield _event(State("gone", Stage.UPLOADED, 0, last.version))
                    return
                if looks % _LOOKS_PER_SIGN == 0:
                    yield _SIGN
            if state != last and not _is_behind(state, last):
                last = state
                yield _event(state)


async def _next(queue: asyncio.Queue[State]) -> State | None:
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await queue.get()
    except TimeoutError:
        return None


def _is_behind(state: State, last: State) -> bool:
    """Whether the store says what was told already: percents are written more rarely than they are told."""
    is_same = (state.status, state.stage, state.version) == (last.status, last.stage, last.version)
    return is_same and state.status == Status.RUNNING and state.progress < last.progress


def _event(state: State) -> bytes:
    return b"event: progress\ndata: " + msgspec.json.encode(asdict(state)) + b"\n\n"
