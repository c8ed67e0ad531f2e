"""Puts a preset before a request: parameters, the system prompt, openers (`docs/decisions/0008-agents-are-models.md`).

What comes out depends on the preset and the request alone, never on the time or on who asks: the same beginning of a
conversation becomes the same bytes upstream, which is what prompt caches there live on.
"""

from dataclasses import replace
from typing import Any

from backend.llm.presets import Preset
from backend.llm.types import ChatRequest, CompletionRequest, ContentPart, Message, Sampling, TextPart

_SINGLE = tuple(name for name in Sampling.__slots__ if name not in {"stop", "extras"})


def enrich(request: ChatRequest | CompletionRequest, preset: Preset | None) -> ChatRequest | CompletionRequest:
    """Return the request with a preset applied; text without a chat template gets the parameters only."""
    if preset is None:
        return request
    sampling = merge_sampling(preset.sampling, request.sampling)
    if isinstance(request, CompletionRequest):
        return replace(request, sampling=sampling, source=None)
    return replace(request, sampling=sampling, messages=merge_messages(preset, request.messages), source=None)


def merge_sampling(ours: Sampling, callers: Sampling) -> Sampling:
    """Return the parameters of both; where both say something the caller's counts."""
    merged: dict[str, Any] = {name: _first(getattr(callers, name), getattr(ours, name)) for name in _SINGLE}
    return Sampling(**merged, stop=callers.stop or ours.stop, extras={**ours.extras, **callers.extras})


def merge_messages(preset: Preset, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return one system turn, then the preset's openers, then the conversation.

    The system turn holds the preset's prompt, then the system texts of openers and caller in their order, with a blank
    line between them. A preset without prompt and openers leaves the conversation as it is.
    """
    if not preset.system_prompt and not preset.messages:
        return messages
    turns = (*preset.messages, *messages)
    systems = [message for message in turns if message.role == "system"]
    texts = [text for text in (preset.system_prompt, *(message.text for message in systems)) if text]
    content: list[ContentPart] = [TextPart("\n\n".join(texts))] if texts else []
    content += [image for message in systems for image in message.images]
    system = (Message("system", tuple(content)),) if content else ()
    return (*system, *(message for message in turns if message.role != "system"))


def _first(callers: object, ours: object) -> object:
    return ours if callers is None else callers
