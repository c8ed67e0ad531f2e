"""Guesses how many tokens a prompt is, where no upstream has counted: four characters each, as Ollama does.

Text, reasoning, tools and tool calls count; images do not, and neither does what chat templates add.
"""

from backend.llm.types import ChatRequest, CompletionRequest, TranscriptionRequest
from backend.wire.jsontext import encode_json

CHARACTERS_PER_TOKEN = 4
# A second of speech is about 4 kB compressed and 32 kB plain, and some 10 tokens for models that tell: so nobody is
# charged more than their upstream counts, and no audio is free, without decoding any.
_AUDIO_BYTES_PER_TOKEN = 4_000


def prompt_characters(request: ChatRequest | CompletionRequest) -> int:
    """Return the characters of all that the model is to read."""
    if isinstance(request, CompletionRequest):
        return len(request.prompt) + len(request.suffix or "")
    said = sum(len(message.text) + len(message.thinking) for message in request.messages)
    called = sum(
        len(call.name) + len(encode_json(dict(call.arguments)))
        for message in request.messages
        for call in message.tool_calls
    )
    offered = sum(
        len(tool.name) + len(tool.description) + len(encode_json(dict(tool.parameters))) for tool in request.tools
    )
    return said + called + offered


def estimate_tokens(request: ChatRequest | CompletionRequest) -> int:
    """Return the estimate, at least 1."""
    return max(prompt_characters(request) // CHARACTERS_PER_TOKEN, 1)


def estimate_speech(request: TranscriptionRequest) -> int:
    """Return the estimate for audio, at least 1."""
    return max(len(request.audio) // _AUDIO_BYTES_PER_TOKEN, 1)
