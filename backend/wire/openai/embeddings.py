"""Reads embedding replies; Mistral, vLLM, llama.cpp, LM Studio and OpenAI share one shape."""

import msgspec

from backend.llm.errors import ProviderProtocolError
from backend.llm.events import token_count
from backend.llm.types import Embeddings
from backend.wire.jsontext import UNREADABLE


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | float | None = None


class _Reply(msgspec.Struct):
    data: list[_Item]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Reply).decode


def read_embeddings(body: bytes, backend: str, expected: int) -> Embeddings:
    """Return the vectors in the order of the inputs; raise when their number is not `expected`."""
    try:
        reply = _decode(body)
    except UNREADABLE as error:
        raise ProviderProtocolError(f"backend {backend!r} sent unreadable embeddings") from error
    items = sorted(reply.data, key=lambda item: item.index)
    if len(items) != expected:
        raise ProviderProtocolError(f"backend {backend!r} sent {len(items)} embeddings for {expected} texts")
    tokens = token_count(reply.usage.prompt_tokens) if reply.usage else None
    return Embeddings([item.embedding for item in items], tokens or 0)
