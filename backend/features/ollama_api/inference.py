"""Chat, generate and embeddings as Ollama's clients ask for them, checked in Ollama's order (`ollama-wire.md` 3.4)."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import msgspec

from backend.core.clock import Timestamps, monotonic_ns
from backend.core.errors import InvalidRequest
from backend.features.auth.principal import Principal
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.features.generation import requirements
from backend.features.generation.service import GenerationService
from backend.llm.capabilities import Capability
from backend.llm.errors import ModelNotFound
from backend.llm.ports import Answer, Encoder
from backend.llm.types import ChatRequest, CompletionRequest
from backend.wire.jsontext import encode_json
from backend.wire.ollama import encoders, inbound, replies
from backend.wire.ollama.schemas import (
    ChatBody,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    InferenceBody,
    read_body,
)

_DIGITS = 9
"""Decimals of a vector's numbers: finer than any use of a normalised vector can tell."""


class Inference:
    """Ollama's inference routes, without HTTP: raw body in, an answer or a finished reply out."""

    def __init__(self, catalog: CatalogService, generation: GenerationService, recent: RecentModels) -> None:
        self._catalog = catalog
        self._generation = generation
        self._recent = recent
        self._timestamps = Timestamps()

    async def chat(self, raw: bytes, principal: Principal) -> Answer | bytes:
        """Return the answer to `POST /api/chat`, or the whole reply to a load or unload request."""
        body = read_body(raw, ChatBody)
        inbound.check_top_logprobs(body)
        if not body.model:
            raise InvalidRequest("model is required")
        model = await self._catalog.resolve(body.model, principal)
        if not _serves_itself(model):
            if not body.messages and body.keep_alive == 0:
                return self._sleep(model, body, is_chat=True)
            self._check(model, body, "chat")
            if body.tools:
                requirements.require_tools(model)
        request = inbound.read_chat(body, keep_source=model.backend.passthrough is not None)
        if not body.messages and not _serves_itself(model):
            return self._sleep(model, body, is_chat=True)
        return await self._open(model, request, body, encoders.CHAT)

    async def generate(self, raw: bytes, principal: Principal) -> Answer | bytes:
        """Return the answer to `POST /api/generate`, or the whole reply to a load or unload request."""
        body = read_body(raw, GenerateBody)
        inbound.check_top_logprobs(body)
        if not body.model:
            raise ModelNotFound("model '' not found")
        model = await self._catalog.resolve(body.model, principal)
        if not _serves_itself(model):
            if not body.prompt and body.keep_alive == 0:
                return self._sleep(model, body, is_chat=False)
            self._check(model, body, "generate")
            if body.suffix:
                requirements.require_insert(model)
        is_completion = body.raw or bool(body.suffix)
        chat = inbound.read_generate(body, keep_source=_serves_itself(model))
        if not body.prompt and not _serves_itself(model):
            return self._sleep(model, body, is_chat=False)
        if is_completion and not _serves_itself(model):
            _require_completion(model, body)
        request = inbound.read_completion(body) if is_completion else chat
        return await self._open(model, request, body, encoders.GENERATE)

    async def embed(self, raw: bytes, principal: Principal) -> bytes:
        """Return the reply to `POST /api/embed`: normalised vectors in the order of the inputs."""
        started = monotonic_ns()
        body = read_body(raw, EmbedBody)
        model = await self._embedder(body.model, principal)
        request = inbound.read_embed(body)
        self._recent.used(model, body.keep_alive)
        if not request.inputs:
            return encode_json({"model": body.model, "embeddings": []})
        opened = monotonic_ns()
        done = await self._generation.embed(model, request)
        vectors = [vector async for vector in _write_vectors(done.vectors, request.dimensions)]
        return encode_json(
            {
                "model": body.model,
                "embeddings": vectors,
                "total_duration": max(monotonic_ns() - started, 1),
                "load_duration": max(opened - started, 1),
                "prompt_eval_count": done.prompt_tokens or max(sum(map(len, request.inputs)) // 4, 1),
            }
        )

    async def embeddings(self, raw: bytes, principal: Principal) -> bytes:
        """Return the reply to `POST /api/embeddings`: one vector as the upstream gave it."""
        body = read_body(raw, EmbeddingsBody)
        if not body.model:
            raise InvalidRequest("model is required")
        model = await self._embedder(body.model, principal)
        request = inbound.read_embeddings(body)
        self._recent.used(model, body.keep_alive)
        if not request.inputs:
            return encode_json({"embedding": []})
        done = await self._generation.embed(model, request)
        return encode_json({"embedding": list(done.vectors[0])})

    async def _embedder(self, name: str, principal: Principal) -> CatalogModel:
        """Find the model in the words these two routes have for an unknown one."""
        if not name:
            raise ModelNotFound("model '' not found")
        try:
            return await self._catalog.resolve(name, principal)
        except ModelNotFound:
            raise ModelNotFound(f'model "{name}" not found, try pulling it first') from None

    async def _open(
        self,
        model: CatalogModel,
        request: ChatRequest | CompletionRequest,
        body: InferenceBody,
        shape: encoders.Shape,
    ) -> Answer:
        if isinstance(request, ChatRequest):
            requirements.require_vision(model, request)
        encoder_type = encoders.LineEncoder if body.stream else encoders.ObjectEncoder
        encoder: Encoder = encoder_type(body.model, shape, self._timestamps)
        self._recent.used(model, body.keep_alive)
        return await self._generation.open_answer(model, request, encoder)

    def _check(self, model: CatalogModel, body: InferenceBody, verb: str) -> None:
        if body.think:
            requirements.require_thinking(model, body.model)
        requirements.require_chat(model, body.model, verb)

    def _sleep(self, model: CatalogModel, body: InferenceBody, *, is_chat: bool) -> bytes:
        """Answer a load or unload request here: a hosted model is always loaded."""
        self._recent.used(model, body.keep_alive)
        is_unload = body.keep_alive == 0
        return replies.sleep_reply(body.model, self._timestamps.now(), is_chat=is_chat, unload=is_unload)


def _serves_itself(model: CatalogModel) -> bool:
    """Whether the model lives on an Ollama machine, which checks, loads and unloads by itself."""
    return model.backend.server is not None


def _require_completion(model: CatalogModel, body: GenerateBody) -> None:
    """Refuse what a prompt without a template cannot carry, rather than leave it out."""
    if body.images or body.format is not None or body.think or body.logprobs:
        raise InvalidRequest("raw and fill-in requests take neither images nor format, think or logprobs here")
    if body.raw and not body.suffix and model.info.is_listed and not model.can(Capability.INSERT):
        raise InvalidRequest("raw mode is not supported by this upstream")


async def _write_vectors(vectors: Sequence[Sequence[float]], dimensions: int | None) -> AsyncIterator[msgspec.Raw]:
    """Normalise and encode vectors one by one, letting other work run in between: many of them take a second."""
    for vector in vectors:
        yield msgspec.Raw(encode_json(_normalise(_cut(vector, dimensions))))
        await asyncio.sleep(0)


def _cut(vector: Sequence[float], dimensions: int | None) -> Sequence[float]:
    return vector if dimensions is None else vector[:dimensions]


def _normalise(vector: Sequence[float]) -> list[float]:
    """Return the vector at length one; a zero vector stays, what is not a number is refused as Ollama does."""
    length = math.sqrt(math.fsum(x * x for x in vector))
    if not math.isfinite(length):
        raise InvalidRequest("embedding contains NaN or Inf values")
    return [round(x / length, _DIGITS) for x in vector] if length else list(vector)
