"""Mistral's API: chat, gap filling, embeddings, transcriptions and the model list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.errors import ProviderRejected, UnsupportedFeature
from backend.llm.lead_in import EchoedPrefix
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
from backend.providers.profiles import find_profile, parameter_size
from backend.providers.streams import DecodedStream
from backend.wire.audio.upstream import PATH, read_transcription, write_mistral
from backend.wire.mistral.messages import MessageStyle, answer_prefix
from backend.wire.mistral.models import read_models
from backend.wire.mistral.request import EXTENDED_FIELDS, ModelStyle, write_chat, write_embed, write_fim
from backend.wire.openai.chunks import ChunkDecoder
from backend.wire.openai.embeddings import read_embeddings

_STREAM = "text/event-stream"
_BATCHES = BatchLimits(texts=32, tokens=12_000)
_TOO_MUCH = "3210"


@dataclass(frozen=True, slots=True)
class MistralHabits:
    """What an operator may switch for Mistral's platform."""

    extended_sampling: bool = True
    """Send `top_k`, `repetition_penalty` and logprobs; a model that refuses one is not asked again."""
    bridge_after_tool: bool = True
    """Put a short assistant turn between a tool's result and a user turn, which older models refuse."""


class MistralProvider:
    """Speaks to Mistral's API; implements all ports of hosted models."""

    def __init__(self, upstream: Upstream, habits: MistralHabits, *, list_timeout: float) -> None:
        self._upstream = upstream
        self._habits = habits
        self._list_timeout = list_timeout
        self._reasoning: frozenset[str] | None = None
        self._refused: dict[str, frozenset[str]] = {}

    async def list_models(self) -> Sequence[ModelInfo]:
        """See `ModelLister.list_models`."""
        body = await self._upstream.get("/v1/models", timeout=self._list_timeout)
        models = [_with_profile(model) for model in read_models(body, self._upstream.name)]
        self._reasoning = frozenset(m.model_id for m in models if Capability.THINKING in m.capabilities)
        return models

    async def open_chat(self, request: ChatRequest) -> EventStream:
        """See `ChatProvider.open_chat`; a model that refuses an extended field is asked again without it."""
        try:
            return await self._open_chat(request)
        except ProviderRejected as error:
            refused = error.fields & EXTENDED_FIELDS
            if not refused:
                raise
            self._refused[request.model] = self._refused.get(request.model, frozenset()) | refused
            return await self._open_chat(request)

    async def open_completion(self, request: CompletionRequest) -> EventStream:
        """See `Completer.open_completion`."""
        reader = await self._upstream.open("/v1/fim/completions", write_fim(request), _STREAM)
        return DecodedStream(reader, ChunkDecoder(self._upstream.name, self._upstream.limits.line_bytes))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See `Embedder.embed`; sent in the batches Mistral takes."""

        async def send(part: EmbedRequest) -> Embeddings:
            body = await self._upstream.post("/v1/embeddings", write_embed(part))
            return read_embeddings(body, self._upstream.name, len(part.inputs))

        return await embed_in_batches(request, send, _BATCHES, too_much=lambda error: error.code == _TOO_MUCH)

    async def transcribe(self, request: TranscriptionRequest) -> Transcription:
        """See `Transcriber.transcribe`."""
        return read_transcription(await self._upstream.post_form(PATH, write_mistral(request)), self._upstream.name)

    async def _open_chat(self, request: ChatRequest) -> EventStream:
        style = ModelStyle(
            MessageStyle(reasons=self._reasons(request.model), bridge_after_tool=self._habits.bridge_after_tool),
            extended=self._habits.extended_sampling,
            refused=self._refused.get(request.model, frozenset()),
        )
        if request.thinking and not style.messages.reasons:
            raise UnsupportedFeature(f'"{request.model}" does not support thinking')
        body = write_chat(request, style)
        reader = await self._upstream.open("/v1/chat/completions", body, _STREAM)
        prefix = answer_prefix(body["messages"])
        decoder = ChunkDecoder(
            self._upstream.name,
            self._upstream.limits.line_bytes,
            EchoedPrefix(prefix) if prefix else None,
            show_thinking=request.thinking is not False,
        )
        return DecodedStream(reader, decoder)

    def _reasons(self, model: str) -> bool:
        """Whether the model reasons: as listed, or by its family before the list was ever read."""
        if self._reasoning is not None:
            return model in self._reasoning
        return Capability.THINKING in find_profile(model).capabilities


def _with_profile(model: ModelInfo) -> ModelInfo:
    family = "bert" if Capability.EMBEDDING in model.capabilities else find_profile(model.model_id).family
    family = "mistral" if family in {"unknown", "bert"} else family
    return replace(model, family=family, parameter_size=parameter_size(model.model_id))
