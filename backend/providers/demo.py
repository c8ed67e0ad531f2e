"""The model that answers when nothing is configured: it says so, and how to add a real one."""

import asyncio
from collections.abc import Sequence
from typing import Self

from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, Usage
from backend.llm.ports import EventStream
from backend.llm.types import ChatRequest

MODEL = "demo"
TEXT = (
    "Passerelle is running, but no model is configured yet: this short text is all that `demo` can say. "
    "To add a real model, stop the gateway, set one of MISTRAL_API_KEY, OLLAMA_BASE_URLS, VLLM_BASE_URLS or "
    "OPENAI_BASE_URL in the environment or in a file named .env, and start it again. "
    "`passerelle doctor` then tells whether the backend can be reached.\n\n"
    "Aucun modèle n'est configuré : définissez par exemple MISTRAL_API_KEY dans le fichier .env, puis redémarrez."
)
_PAUSE_SECONDS = 0.02


class DemoProvider:
    """Answers every conversation with the same honest text; implements `ChatProvider` and `ModelLister`."""

    async def list_models(self) -> Sequence[ModelInfo]:
        """See `ModelLister.list_models`."""
        return [
            ModelInfo(
                MODEL,
                frozenset({Capability.COMPLETION}),
                context_length=8192,
                family="demo",
                description="Says that no model is configured and how to add one.",
            )
        ]

    async def open_chat(self, request: ChatRequest) -> EventStream:
        """See `ChatProvider.open_chat`; the request's length is counted, its content is not looked at."""
        return _DemoStream(sum(len(message.text.split()) for message in request.messages))


class _DemoStream:
    """Streams the text word by word; implements `EventStream`."""

    def __init__(self, prompt_words: int) -> None:
        words = TEXT.split(" ")
        self._events: list[ChatEvent] = [Started()]
        self._events += [TextDelta(word if i == 0 else f" {word}") for i, word in enumerate(words)]
        self._events.append(Finished("stop", Usage(max(prompt_words, 1), len(words))))
        self._next = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[ChatEvent]:
        if self._next >= len(self._events):
            raise StopAsyncIteration
        if self._next:
            await asyncio.sleep(_PAUSE_SECONDS)
        self._next += 1
        return self._events[self._next - 1 : self._next]

    async def aclose(self) -> None:
        """Nothing is held open."""
