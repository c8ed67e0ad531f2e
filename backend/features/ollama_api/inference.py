"""Chat, generate and embeddings as Ollama's clients ask for them, checked in Ollama's order (`ollama-wire.md` 3.4)."""

import msgspec

from backend.core.clock import Timestamps, monotonic_ns
from backend.core.errors import InvalidRequest
from backend.features.auth.context import CallContext
from backend.features.catalog.service import CatalogModel
from backend.features.generation.intake import Intake
from backend.features.generation.requirements import require_abilities
from backend.features.generation.vectors import unit_vectors
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


class Inference:
    """Ollama's inference routes, without HTTP: raw body in, an answer or a finished reply out."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._timestamps = Timestamps()

    async def chat(self, raw: bytes, context: CallContext) -> Answer | bytes:
        """Return the answer to `POST /api/chat`, or the whole reply to a load or unload request."""
        body = read_body(raw, ChatBody)
        inbound.check_top_logprobs(body)
        if not body.model:
            raise InvalidRequest("model is required")
        model = await self._intake.find(body.model, context.principal)
        if not model.serves_itself:
            if not body.messages and body.keep_alive == 0:
                return self._sleep(model, body, is_chat=True)
            require_abilities(model, body.model, "chat", thinks=bool(body.think), calls_tools=bool(body.tools))
        request = inbound.read_chat(body, keep_source=model.backend.passthrough is not None and model.preset is None)
        if not body.messages and not model.serves_itself:
            return self._sleep(model, body, is_chat=True)
        return await self._open(model, request, context, body, encoders.CHAT)

    async def generate(self, raw: bytes, context: CallContext) -> Answer | bytes:
        """Return the answer to `POST /api/generate`, or the whole reply to a load or unload request."""
        body = read_body(raw, GenerateBody)
        inbound.check_top_logprobs(body)
        if not body.model:
            raise ModelNotFound("model '' not found")
        model = await self._intake.find(body.model, context.principal)
        if not model.serves_itself:
            if not body.prompt and body.keep_alive == 0:
                return self._sleep(model, body, is_chat=False)
            require_abilities(model, body.model, "generate", thinks=bool(body.think), fills=bool(body.suffix))
        is_completion = body.raw or bool(body.suffix)
        chat = inbound.read_generate(body, keep_source=model.serves_itself)
        if not body.prompt and not model.serves_itself:
            return self._sleep(model, body, is_chat=False)
        if is_completion and not model.serves_itself:
            _require_completion(model, body)
        request = inbound.read_completion(body) if is_completion else chat
        return await self._open(model, request, context, body, encoders.GENERATE)

    async def embed(self, raw: bytes, context: CallContext) -> bytes:
        """Return the reply to `POST /api/embed`: normalised vectors in the order of the inputs."""
        started = monotonic_ns()
        body = read_body(raw, EmbedBody)
        model = await self._intake.find_embedder(body.model, context.principal)
        request = inbound.read_embed(body)
        self._intake.note_use(model, body.keep_alive)
        if not request.inputs:
            return encode_json({"model": body.model, "embeddings": []})
        opened = monotonic_ns()
        done = await self._intake.embed(model, request, context)
        vectors = [msgspec.Raw(encode_json(vector)) async for vector in unit_vectors(done.vectors, request.dimensions)]
        return encode_json(
            {
                "model": body.model,
                "embeddings": vectors,
                "total_duration": max(monotonic_ns() - started, 1),
                "load_duration": max(opened - started, 1),
                "prompt_eval_count": done.prompt_tokens or max(sum(map(len, request.inputs)) // 4, 1),
            }
        )

    async def embeddings(self, raw: bytes, context: CallContext) -> bytes:
        """Return the reply to `POST /api/embeddings`: one vector as the upstream gave it."""
        body = read_body(raw, EmbeddingsBody)
        if not body.model:
            raise InvalidRequest("model is required")
        model = await self._intake.find_embedder(body.model, context.principal)
        request = inbound.read_embeddings(body)
        self._intake.note_use(model, body.keep_alive)
        if not request.inputs:
            return encode_json({"embedding": []})
        done = await self._intake.embed(model, request, context)
        return encode_json({"embedding": list(done.vectors[0])})

    async def _open(
        self,
        model: CatalogModel,
        request: ChatRequest | CompletionRequest,
        context: CallContext,
        body: InferenceBody,
        shape: encoders.Shape,
    ) -> Answer:
        encoder_type = encoders.LineEncoder if body.stream else encoders.ObjectEncoder
        encoder: Encoder = encoder_type(body.model, shape, self._timestamps)
        return await self._intake.open(model, request, context, encoder, body.keep_alive)

    def _sleep(self, model: CatalogModel, body: InferenceBody, *, is_chat: bool) -> bytes:
        """Answer a load or unload request here: a hosted model is always loaded."""
        self._intake.note_use(model, body.keep_alive)
        is_unload = body.keep_alive == 0
        return replies.sleep_reply(body.model, self._timestamps.now(), is_chat=is_chat, unload=is_unload)


def _require_completion(model: CatalogModel, body: GenerateBody) -> None:
    """Refuse what a prompt without a template cannot carry, rather than leave it out."""
    if body.images or body.format is not None or body.think or body.logprobs:
        raise InvalidRequest("raw and fill-in requests take neither images nor format, think or logprobs here")
    if body.raw and not body.suffix and model.info.is_listed and not model.can(Capability.INSERT):
        raise InvalidRequest("raw mode is not supported by this upstream")
