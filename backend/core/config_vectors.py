"""Settings of vectors: who makes them, and what finds them."""

from typing import Literal

from pydantic import Field

from backend.core.config_types import Group


class VectorSettings(Group):
    """Search by meaning."""

    embedder: Literal["auto", "none", "mistral", "ollama", "openai"] = Field(
        "auto",
        description="Who makes the vectors: auto takes mistral-embed where a key of Mistral is set, else a known "
        "embedding model that an Ollama machine has already, else one that an OpenAI-compatible backend lists, and "
        "stays with it; it never downloads one. Without any, and with none, documents are found by keywords alone.",
    )
    embedding_model: str = Field(
        "", max_length=200, description="The embedding model, when it is not the one that would be chosen."
    )
    index: Literal["auto", "embedded", "server", "exact"] = Field(
        "auto",
        description="What finds vectors: embedded keeps an index in this process, server in a `chroma run` that the "
        "gateway starts and stops, exact compares every vector (up to 20,000 of a collection). auto is the server at "
        "CHROMA_URL where that is set, else embedded, and exact with more than one worker.",
    )
