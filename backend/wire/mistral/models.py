"""Reads Mistral's model list (`upstreams.md` A.13): one card per id and per alias, each with capabilities."""

from typing import Any

from backend.llm.capabilities import Capability, ModelInfo
from backend.wire.openai.models import card_number, read_cards

_FLAGS = {
    "completion_chat": Capability.COMPLETION,
    "function_calling": Capability.TOOLS,
    "vision": Capability.VISION,
    "reasoning": Capability.THINKING,
    "completion_fim": Capability.INSERT,
    "audio": Capability.AUDIO,
    "audio_transcription": Capability.AUDIO,
}
_EMBEDDING_LENGTHS = {"mistral-embed": 1024, "codestral-embed": 1536}
_CHATLESS_CONTEXT = 8192
"""What embedding models take; their cards carry the schema's default instead."""


def read_models(body: bytes, backend: str) -> list[ModelInfo]:
    """Return the models that can chat, fill gaps, embed or hear; OCR, moderation and speaking models are left out."""
    models = [_read_card(card) for card in read_cards(body, backend) if not card.get("archived")]
    return [model for model in models if model.capabilities & _SERVED]


_SERVED = frozenset({Capability.COMPLETION, Capability.INSERT, Capability.EMBEDDING, Capability.AUDIO})


def _read_card(card: dict[str, Any]) -> ModelInfo:
    model_id = str(card["id"])
    flags = card.get("capabilities")
    flags = flags if isinstance(flags, dict) else {}
    # There is no flag for embeddings: the id says it.
    is_embedder = "embed" in model_id.lower()
    found = {Capability.EMBEDDING} if is_embedder else {cap for flag, cap in _FLAGS.items() if flags.get(flag) is True}
    temperature = card.get("default_model_temperature")
    lengths = [length for stem, length in _EMBEDDING_LENGTHS.items() if model_id.startswith(stem)]
    return ModelInfo(
        model_id=model_id,
        capabilities=frozenset(found),
        is_listed=True,
        context_length=_CHATLESS_CONTEXT if is_embedder else card_number(card, "max_context_length"),
        embedding_length=lengths[0] if lengths else None,
        default_temperature=temperature if isinstance(temperature, (int, float)) else None,
        description=str(card.get("description") or ""),
    )
