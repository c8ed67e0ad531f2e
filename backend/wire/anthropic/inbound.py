"""Turns the bodies of the messages API into canonical requests.

A user turn with tool results becomes `tool` turns first, then the rest as a user turn.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.core.errors import InvalidRequest
from backend.llm.tool_calls import name_results
from backend.llm.types import (
    ChatRequest,
    ContentPart,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from backend.wire.anthropic.schemas import BlockBody, MessageBody, MessagesBody, OutputConfigBody, PromptBody
from backend.wire.images import read_image

MAX_IMAGES = 100
_SHOWN = 64
_CHOICES: Mapping[str, ToolChoice] = {
    "auto": ToolChoice("auto"),
    "any": ToolChoice("required"),
    "none": ToolChoice("none"),
}
_EFFORTS: Mapping[str, Thinking] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


def read_messages(body: MessagesBody) -> ChatRequest:
    """Return the conversation a body asks to continue, checked in Ollama's order."""
    _require_model(body)
    if body.max_tokens <= 0:
        raise InvalidRequest("max_tokens is required and must be positive")
    sampling = Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=None if body.top_k is None else max(body.top_k, 0),  # -1 is vLLM's word for off, 0 everybody's
        stop=tuple(body.stop_sequences),
        max_tokens=body.max_tokens,
    )
    return replace(
        _read_prompt(body),
        sampling=sampling,
        thinking=_read_thinking(body),
        response_format=_read_format(body.output_config),
        stream=body.stream,
    )


def read_prompt(body: PromptBody) -> ChatRequest:
    """Return the conversation whose tokens are to be counted."""
    _require_model(body)
    return _read_prompt(body)


def _require_model(body: PromptBody) -> None:
    if not body.model:
        raise InvalidRequest("model is required")


def _read_prompt(body: PromptBody) -> ChatRequest:
    reader = _ConversationReader()
    system = reader.parts(body.system, "the system prompt")
    turns = [turn for message in body.messages for turn in reader.turn(message) if _says_something(turn)]
    if not turns:
        raise InvalidRequest("messages is required")
    choice, parallel = _read_choice(body)
    return ChatRequest(
        model=body.model,
        messages=(*([Message("system", system)] if system else []), *name_results(turns)),
        tools=_read_tools(body),
        tool_choice=choice,
        parallel_tool_calls=parallel,
    )


class _ConversationReader:
    """Reads turns in order, counting their images."""

    def __init__(self) -> None:
        self._images = 0

    def turn(self, body: MessageBody) -> list[Message]:
        """Return the messages that one turn becomes."""
        match body.role:
            case "user":
                return self._user(body.content)
            case "assistant":
                return self._assistant(body.content)
            case "system":
                return [Message("system", self.parts(body.content, "a system turn"))]
            case _:
                raise InvalidRequest(f"invalid role {body.role[:_SHOWN]!r}; use user, assistant or system")

    def parts(self, blocks: Iterable[BlockBody], where: str) -> tuple[ContentPart, ...]:
        """Return text and images in order."""
        return tuple(part for block in blocks for part in self._part(block, where))

    def _user(self, blocks: Sequence[BlockBody]) -> list[Message]:
        results = [self._result(block) for block in blocks if block.type == "tool_result"]
        rest = self.parts((block for block in blocks if block.type != "tool_result"), "a user turn")
        return [*results, Message("user", rest)]

    def _assistant(self, blocks: Sequence[BlockBody]) -> list[Message]:
        content: list[ContentPart] = []
        thinking: list[str] = []
        calls: list[ToolCall] = []
        for block in blocks:
            match block.type:
                case "thinking":
                    thinking.append(block.thinking)
                case "redacted_thinking":
                    pass
                case "tool_use":
                    calls.append(self._call(block))
                case _:
                    content += self._part(block, "an assistant turn")
        return [Message("assistant", tuple(content), "".join(thinking), tuple(calls))]

    def _call(self, block: BlockBody) -> ToolCall:
        for field, value in (("id", block.id), ("name", block.name)):
            if not value:
                raise InvalidRequest(f"tool_use block missing required '{field}' field")
        return ToolCall(block.id, block.name, block.input)

    def _result(self, block: BlockBody) -> Message:
        content = self.parts(block.content, "a tool result")
        if block.is_error:
            content = _mark_error(content)
        return Message("tool", content, tool_call_id=block.tool_use_id)

    def _part(self, block: BlockBody, where: str) -> tuple[ContentPart, ...]:
        match block.type:
            case "text":
                return (TextPart(block.text),) if block.text else ()
            case "image":
                return (self._image(block),)
            case "document":
                return self._document(block, where)
            case _:
                raise InvalidRequest(f"{where} cannot hold blocks of type {block.type!r}")

    def _image(self, block: BlockBody) -> ContentPart:
        if block.source.type != "base64":
            kind = block.source.type[:_SHOWN]
            raise InvalidRequest(f"invalid image source type: {kind}. Only base64 images are supported.")
        self._images += 1
        if self._images > MAX_IMAGES:
            raise InvalidRequest(f"a conversation may hold {MAX_IMAGES} images at most; remove older ones")
        return read_image(block.source.data)

    def _document(self, block: BlockBody, where: str) -> tuple[ContentPart, ...]:
        """Read a document that comes as text; nothing here takes others apart."""
        title = (TextPart(block.title),) if block.title else ()
        match block.source.type:
            case "text":
                return (*title, TextPart(block.source.data))
            case "content":
                return (*title, *self.parts(block.source.content, where))
            case kind:
                raise InvalidRequest(f"documents with a {kind[:_SHOWN]!r} source cannot be read here; send their text")


def _says_something(message: Message) -> bool:
    """Whether a turn is worth sending on; Ollama leaves empty ones out, and some upstreams refuse them."""
    return bool(message.role == "tool" or message.content or message.thinking or message.tool_calls)


def _mark_error(content: tuple[ContentPart, ...]) -> tuple[ContentPart, ...]:
    """Say in words that a tool failed: no other format has a flag for it."""
    if content and isinstance(first := content[0], TextPart):
        return (TextPart(f"Error: {first.text}"), *content[1:])
    return (TextPart("Error"), *content)


def _read_tools(body: PromptBody) -> tuple[ToolSpec, ...]:
    for tool in body.tools:
        if tool.type != "custom":
            kind = tool.type[:_SHOWN]
            raise InvalidRequest(f"the built-in tool {kind!r} does not exist here; send tools with an input_schema")
        if not tool.name:
            raise InvalidRequest("every tool needs a name")
    return tuple(ToolSpec(tool.name, tool.description, tool.input_schema) for tool in body.tools)


def _read_choice(body: PromptBody) -> tuple[ToolChoice | None, bool | None]:
    """Return whether and how tools are to be called, and whether several at once."""
    wanted = body.tool_choice
    if wanted is None:
        return None, None
    choice = ToolChoice("required", wanted.name) if wanted.type == "tool" else _CHOICES.get(wanted.type)
    if choice is None:
        raise InvalidRequest("tool_choice.type must be auto, any, tool or none")
    if choice.mode == "required" and not body.tools:
        raise InvalidRequest(f"tool_choice {wanted.type!r} needs tools to choose from")
    if wanted.type == "tool" and all(tool.name != wanted.name for tool in body.tools):
        raise InvalidRequest(f"tool_choice names {wanted.name[:_SHOWN]!r}, which is not among the tools")
    return choice, False if wanted.disable_parallel_tool_use else None


def _read_thinking(body: PromptBody) -> Thinking | None:
    """Return the effort as a level, unless thinking is off; `adaptive` leaves it to the model."""
    effort = body.output_config.effort
    if effort and effort not in _EFFORTS:
        raise InvalidRequest("output_config.effort must be low, medium, high, xhigh or max")
    if body.thinking.type == "disabled":
        return False
    return _EFFORTS.get(effort) or (True if body.thinking.type == "enabled" else None)


def _read_format(config: OutputConfigBody) -> JsonFormat | None:
    if config.format is None:
        return None
    if config.format.type != "json_schema":
        raise InvalidRequest("output_config.format.type must be json_schema")
    schema: dict[str, Any] = config.format.schema_
    return JsonFormat(schema or None)
