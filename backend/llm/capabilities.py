"""What a model can do and what is known about it, in Ollama's words because clients decide by them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Capability(StrEnum):
    """One thing a model can do, as Ollama's `capabilities` list names it."""

    COMPLETION = "completion"
    TOOLS = "tools"
    INSERT = "insert"
    VISION = "vision"
    EMBEDDING = "embedding"
    THINKING = "thinking"
    AUDIO = "audio"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model as its upstream describes it; empty or None where the upstream does not say."""

    model_id: str
    """What the upstream wants to be asked for."""
    capabilities: frozenset[Capability]
    """Empty when nothing is known: then nothing is refused for want of a capability."""
    is_listed: bool = False
    """Whether the upstream itself named the capabilities; otherwise they follow from the name."""
    context_length: int | None = None
    embedding_length: int | None = None
    parameter_count: int | None = None
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    size_bytes: int = 0
    default_temperature: float | None = None
    description: str = ""
    native: Mapping[str, Any] = field(default_factory=dict)
    """An Ollama upstream's own entry of `/api/tags`, passed on as it is."""
