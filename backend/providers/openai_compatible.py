"""vLLM and the other servers that speak chat completions; what differs is a dialect and what is known of the family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.errors import ModelNotFound, UnsupportedFeature
from backend.llm.lead_in import ThinkTags
from backend.llm.ports import EventStream
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    Embeddings,
    EmbedRequest,
    Transcription,
    TranscriptionRequest,
)
from backend.providers.batches import BatchLimits, embed_in_batches
from backend.providers.http import Upstream
from backend.providers.profiles import find_profile, parameter_size, quantization
from backend.providers.streams import DecodedStream
from backend.wire.audio.upstream import PATH, read_transcription, write_openai
from backend.wire.openai.chunks import ChunkDecoder
from backend.wire.openai.embeddings import read_embeddings
from backend.wire.openai.models import card_number, read_cards
from backend.wire.openai.options import Dialect
from backend.wire.openai.request import keep_or_derive, write_chat, write_completion
from backend.wire.tool_ids import mint_id

_STREAM = "text/event-stream"
_BATCHES = BatchLimits(texts=128, tokens=100_000)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What an operator states about a backend's models, instead of what their names suggest."""

    capabilities: frozenset[Capability] | None = None
    context_length: int | None = None


class OpenAICompatibleProvider:
    """Speaks chat completions; implements all ports of hosted models."""

    def __init__(self, upstream: Upstream, dialect: Dialect, facts: ModelFacts, *, list_timeout: float) -> None:
        self._upstream = upstream
        self._dialect = dialect
        self._facts = facts
        self._list_timeout = list_timeout

    async def list_models(self) -> Sequence[ModelInfo]:
        """See `ModelLister.list_models`."""
        body = await self._upstream.get("/v1/models", timeout=self._list_timeout)
        return [self._describe(card) for card in read_cards(body, self._upstream.name)]

    async def open_chat(self, request: ChatRequest) -> EventStream:
        """See `ChatProvider.open_chat`."""
        profile = find_profile(request.model)
        # Mistral's tokenizers check ids on vLLM as they do on Mistral's platform.
        is_mistral = self._dialect is Dialect.VLLM and profile.family == "mistral"
        body = write_chat(request, self._dialect, profile.reasoning, mint_id if is_mistral else keep_or_derive)
        reader = await self._upstream.open("/v1/chat/completions", body, _STREAM)
        decoder = ChunkDecoder(
            self._upstream.name,
            self._upstream.limits.line_bytes,
            ThinkTags(),
            show_thinking=request.thinking is not False,
        )
        return DecodedStream(reader, decoder)

    async def open_completion(self, request: CompletionRequest) -> EventStream:
        """See `Completer.open_completion`."""
        fim = find_profile(request.model).fim
        if request.suffix is not None and fim is None:
            raise UnsupportedFeature(f'"{request.model}" does not support insert')
        reader = await self._upstream.open("/v1/completions", write_completion(request, fim), _STREAM)
        return DecodedStream(reader, ChunkDecoder(self._upstream.name, self._upstream.limits.line_bytes))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See `Embedder.embed`."""

        async def send(part: EmbedRequest) -> Embeddings:
            body: dict[str, Any] = {"model": part.model, "input": list(part.inputs)}
            if part.dimensions:
                body["dimensions"] = part.dimensions
            reply = await self._upstream.post("/v1/embeddings", body)
            return read_embeddings(reply, self._upstream.name, len(part.inputs))

        return await embed_in_batches(request, send, _BATCHES, too_much=lambda _error: False)

    async def transcribe(self, request: TranscriptionRequest) -> Transcription:
        """See `Transcriber.transcribe`; most of these servers only have this where they serve a speech model."""
        try:
            reply = await self._upstream.post_form(PATH, write_openai(request))
        except ModelNotFound:
            raise UnsupportedFeature(
                f"backend {self._upstream.name!r} cannot transcribe audio with this model; choose a speech model"
            ) from None
        return read_transcription(reply, self._upstream.name)

    def _describe(self, card: dict[str, Any]) -> ModelInfo:
        model_id = str(card["id"])
        profile = find_profile(model_id)
        # llama.cpp puts what it knows under `meta`, vLLM names its limit on the card.
        listed = card_number(card, "max_model_len") or card_number(card, "meta", "n_ctx_train")
        return ModelInfo(
            model_id=model_id,
            capabilities=self._facts.capabilities or frozenset(profile.capabilities),
            context_length=self._facts.context_length or listed,
            embedding_length=card_number(card, "meta", "n_embd"),
            parameter_count=card_number(card, "meta", "n_params"),
            family=profile.family,
            parameter_size=parameter_size(model_id),
            quantization=quantization(model_id),
            size_bytes=card_number(card, "meta", "size") or 0,
        )
