"""Turns Ollama's request bodies into canonical requests."""

from typing import Any

from backend.core.errors import InvalidRequest
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    ContentPart,
    EmbedRequest,
    JsonFormat,
    Message,
    TextPart,
    ToolCall,
    ToolSpec,
    WireSource,
)
from backend.wire.body import MAX_IMAGES
from backend.wire.images import read_image
from backend.wire.ollama.options import check_options, read_options
from backend.wire.ollama.schemas import (
    ChatBody,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    InferenceBody,
    MessageBody,
)
from backend.wire.roles import find_role, read_role

_MAX_TOP_LOGPROBS = 20


def read_chat(body: ChatBody, *, keep_source: bool = True) -> ChatRequest:
    """Return the conversation a chat body asks to continue.

    `keep_source` keeps the body beside it, for a backend that speaks this format too; that backend also judges roles
    and images itself, since it may take more of them than others do.
    """
    if sum(len(message.images) for message in body.messages) > MAX_IMAGES:
        raise InvalidRequest(f"a conversation may hold {MAX_IMAGES} images at most; remove older ones")
    return ChatRequest(
        model=body.model,
        messages=tuple(_read_message(message, lenient=keep_source) for message in body.messages),
        tools=tuple(ToolSpec(t.function.name, t.function.description, t.function.parameters) for t in body.tools),
        source=WireSource("ollama", "/api/chat", _forwardable(body)) if keep_source else None,
        **_shared(body),
    )


def read_generate(body: GenerateBody, *, keep_source: bool = True) -> ChatRequest:
    """Return a generate body as a conversation of one turn; `keep_source` as in `read_chat`."""
    if body.raw and (body.template or body.system or body.context):
        raise InvalidRequest("raw mode does not support template, system, or context")
    if len(body.images) > MAX_IMAGES:
        raise InvalidRequest(f"a request may hold {MAX_IMAGES} images at most")
    content: list[ContentPart] = [TextPart(body.prompt)] if body.prompt else []
    content += [read_image(image, lenient=keep_source) for image in body.images]
    system = (Message("system", (TextPart(body.system),)),) if body.system else ()
    return ChatRequest(
        model=body.model,
        messages=(*system, Message("user", tuple(content))),
        source=WireSource("ollama", "/api/generate", _forwardable(body)) if keep_source else None,
        **_shared(body),
    )


def read_completion(body: GenerateBody) -> CompletionRequest:
    """Return a raw or fill-in-the-middle generate body."""
    return CompletionRequest(
        model=body.model,
        prompt=body.prompt,
        suffix=body.suffix or None,
        sampling=read_options(body.options),
        stream=body.stream,
        source=WireSource("ollama", "/api/generate", _forwardable(body)),
    )


def read_embed(body: EmbedBody) -> EmbedRequest:
    """Return the texts of an embed body; none means "load the model"."""
    check_options(body.options)
    value = body.input
    if value is None or value == "":
        inputs: tuple[str, ...] = ()
    elif isinstance(value, str):
        inputs = (value,)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        inputs = tuple(value)
    else:
        raise InvalidRequest("invalid input type")
    source = WireSource("ollama", "/api/embed", body.model_dump(exclude_unset=True))
    return EmbedRequest(body.model, inputs, body.dimensions if body.dimensions > 0 else None, body.truncate, source)


def read_embeddings(body: EmbeddingsBody) -> EmbedRequest:
    """Return the text of an older embeddings body."""
    check_options(body.options)
    source = WireSource("ollama", "/api/embeddings", body.model_dump(exclude_unset=True))
    return EmbedRequest(body.model, (body.prompt,) if body.prompt else (), source=source)


def check_top_logprobs(body: InferenceBody) -> None:
    """Refuse a `top_logprobs` out of range; Ollama checks this before it looks at the model."""
    if not 0 <= body.top_logprobs <= _MAX_TOP_LOGPROBS:
        raise InvalidRequest("top_logprobs must be between 0 and 20")


def _shared(body: InferenceBody) -> dict[str, Any]:
    wanted = body.format
    return {
        "sampling": read_options(body.options),
        "response_format": None if wanted is None else JsonFormat(None if wanted == "json" else wanted),
        "thinking": body.think,
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs,
        "stream": body.stream,
        "keep_alive": body.keep_alive,
    }


def _forwardable(body: InferenceBody) -> dict[str, Any]:
    """Return the checked fields the caller set, with the options Ollama knows."""
    fields = body.model_dump(exclude_unset=True)
    if "options" in fields:
        fields["options"] = check_options(body.options)
    return fields


def _read_message(body: MessageBody, *, lenient: bool) -> Message:
    role = find_role(body.role) or "user" if lenient else read_role(body.role)
    content: list[ContentPart] = [TextPart(body.content)] if body.content else []
    content += [read_image(image, lenient=lenient) for image in body.images]
    return Message(
        role=role,
        content=tuple(content),
        thinking=body.thinking,
        tool_calls=tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in body.tool_calls),
        tool_call_id=body.tool_call_id,
        tool_name=body.tool_name,
    )
