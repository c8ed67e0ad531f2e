"""OpenAI's other replies: embeddings and model entries."""

import base64
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from backend.wire.jsontext import encode_json


def write_vector(vector: Sequence[float], *, as_base64: bool) -> msgspec.Raw:
    """Return a vector as JSON: a list of numbers, or the base64 of little-endian 32-bit floats."""
    if not as_base64:
        return msgspec.Raw(encode_json(vector))
    packed = struct.pack(f"<{len(vector)}f", *vector)
    return msgspec.Raw(b'"' + base64.b64encode(packed) + b'"')


def embeddings_reply(model: str, vectors: Sequence[msgspec.Raw], prompt_tokens: int) -> bytes:
    """Return the reply to `POST /v1/embeddings`; the vectors are written already."""
    data = [{"object": "embedding", "embedding": vector, "index": index} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return encode_json({"object": "list", "data": data, "model": model, "usage": usage})


def model_entry(name: str, created: int, owner: str) -> dict[str, Any]:
    """Return one entry of `GET /v1/models`, which is also the reply to `GET /v1/models/{name}`."""
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def model_list(entries: Sequence[dict[str, Any]]) -> bytes:
    """Return the reply to `GET /v1/models`; without models the list is empty, never null."""
    return encode_json({"object": "list", "data": list(entries)})
