"""Sends many texts to an embedder in the batches it takes."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from backend.llm.errors import ContextTooLong, ProviderRejected
from backend.llm.types import Embeddings, EmbedRequest

_CHARACTERS_PER_TOKEN = 3
_SHORTEST = 64
"""Characters below which a text is not cut further: then it is not its length that is refused."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one call may hold."""

    texts: int
    tokens: int


Send = Callable[[EmbedRequest], Awaitable[Embeddings]]


async def embed_in_batches(
    request: EmbedRequest, send: Send, limits: BatchLimits, *, too_much: Callable[[ProviderRejected], bool]
) -> Embeddings:
    """Return all vectors in order; a batch that is refused as too much is halved, a single text is cut if allowed."""
    vectors: list[list[float]] = []
    tokens = 0
    for part in _parts(request, limits):
        done = await _send(part, send, too_much)
        vectors.extend(list(vector) for vector in done.vectors)
        tokens += done.prompt_tokens
    return Embeddings(vectors, tokens)


def _parts(request: EmbedRequest, limits: BatchLimits) -> Iterator[EmbedRequest]:
    batch: list[str] = []
    used = 0
    for text in request.inputs:
        cost = len(text) // _CHARACTERS_PER_TOKEN + 1
        if batch and (len(batch) >= limits.texts or used + cost > limits.tokens):
            yield replace(request, inputs=tuple(batch), source=None)
            batch, used = [], 0
        batch.append(text)
        used += cost
    if batch:
        yield replace(request, inputs=tuple(batch), source=None)


async def _send(part: EmbedRequest, send: Send, too_much: Callable[[ProviderRejected], bool]) -> Embeddings:
    try:
        return await send(part)
    except ProviderRejected as error:
        if not (too_much(error) or isinstance(error, ContextTooLong)):
            raise
        smaller = _smaller(part, error)
    pieces = [await _send(piece, send, too_much) for piece in smaller]
    return Embeddings([v for piece in pieces for v in piece.vectors], sum(piece.prompt_tokens for piece in pieces))


def _smaller(part: EmbedRequest, error: ProviderRejected) -> tuple[EmbedRequest, ...]:
    middle = len(part.inputs) // 2
    if middle:
        return replace(part, inputs=part.inputs[:middle]), replace(part, inputs=part.inputs[middle:])
    text = part.inputs[0]
    if not part.truncate:
        raise ContextTooLong("the input length exceeds the context length") from error
    if len(text) <= _SHORTEST:
        raise error
    return (replace(part, inputs=(text[: len(text) * 2 // 3],)),)
