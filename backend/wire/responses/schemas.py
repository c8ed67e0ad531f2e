"""The request body of `POST /v1/responses` (`ollama-wire.md` 10.3): what is read of it, and how it is refused.

Unknown keys are ignored, `null` means unset. What cannot be read is an `InvalidRequest` that names the field.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from backend.core.errors import InvalidRequest
from backend.wire.body import MAX_MESSAGES
from backend.wire.openai.schemas import Integer, Number, OpenAIModel
from backend.wire.openai.schemas import read_body as read_openai

_MAX_PARTS = 2_000
_TEXT = "input_text"
_ITEMS = frozenset({"message", "function_call", "function_call_output", "reasoning"})
_HINT = "send messages, function calls, their outputs and reasoning"
_HINTS = {"item_reference": "nothing is stored here, send the item itself"}


def _as_parts(value: Any) -> Any:
    """A string stands for one part of text."""
    if isinstance(value, str):
        return [{"type": _TEXT, "text": value}]
    if isinstance(value, list) and len(value) > _MAX_PARTS:
        raise InvalidRequest(f"content may hold {_MAX_PARTS} parts at most; send fewer")
    return value


def _as_items(value: Any) -> Any:
    """A string stands for one message of the user."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value else []
    if not isinstance(value, list):
        return value
    if len(value) > MAX_MESSAGES:
        raise InvalidRequest(f"input may hold {MAX_MESSAGES} items at most; send fewer")
    for item in value:
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind not in _ITEMS:
            raise InvalidRequest(f"input items of type {kind[:40]!r} are not supported; {_HINTS.get(kind, _HINT)}")
    return value


def _as_choice(value: Any) -> Any:
    """A word stands for a choice of that kind."""
    return {"type": value} if isinstance(value, str) else value


class PartBody(OpenAIModel):
    """One piece of content: text in its various names, or an image."""

    type: str = _TEXT
    text: str = ""
    refusal: str = ""
    image_url: str = ""


Parts = Annotated[list[PartBody], BeforeValidator(_as_parts)]


class ItemBody(OpenAIModel):
    """One item of the input; which fields count depends on its `type`, and without one it is a message."""

    type: str = "message"
    role: str = ""
    content: Parts = Field(default_factory=list)
    call_id: str = ""
    name: str = ""
    namespace: str = ""
    arguments: str = ""
    output: Parts = Field(default_factory=list)
    summary: list[PartBody] = Field(default_factory=list)
    encrypted_content: str = ""


class ToolBody(OpenAIModel):
    """A function the model may call, or a namespace of functions."""

    type: str = "function"
    name: str = ""
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None
    tools: list["ToolBody"] = Field(default_factory=list)


class ToolChoiceBody(OpenAIModel):
    """Whether tools may, must or must not be called, or which one must."""

    type: str = "auto"
    name: str = ""
    namespace: str = ""


class FormatBody(OpenAIModel):
    """The form of the answer's text."""

    type: str = "text"
    name: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextBody(OpenAIModel):
    """What is said about the answer's text."""

    format: FormatBody = FormatBody()


class ReasoningBody(OpenAIModel):
    """How much the model should think."""

    effort: str = ""


class ResponsesBody(OpenAIModel):
    """`POST /v1/responses`."""

    model: str = ""
    input: Annotated[list[ItemBody], BeforeValidator(_as_items)] = Field(default_factory=list)
    instructions: str = ""
    stream: bool = False
    max_output_tokens: Integer | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    reasoning: ReasoningBody = ReasoningBody()
    text: TextBody = TextBody()
    tools: list[ToolBody] = Field(default_factory=list)
    tool_choice: Annotated[ToolChoiceBody, BeforeValidator(_as_choice)] = ToolChoiceBody()
    parallel_tool_calls: bool | None = None
    previous_response_id: str = ""
    conversation: Any = None
    prompt: Any = None
    background: bool = False


def read_body(raw: bytes) -> ResponsesBody:
    """Decode and check a request body, as on OpenAI's other routes."""
    return read_openai(raw, ResponsesBody)
