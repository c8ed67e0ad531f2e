"""The request body of `POST /v1/responses` (`ollama-wire.md` 10.3): what is read of it, and how it is refused.

Unknown keys are ignored, `null` means unset. What cannot be read is an `InvalidRequest` that names the field.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from backend.core.errors import InvalidRequest
from backend.wire.body import MAX_MESSAGES, MAX_TOOLS, read_json

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


class ResponsesModel(BaseModel):
    """A part of the body: strict types, no nulls, no surprise fields."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


class PartBody(ResponsesModel):
    """One piece of content: text in its various names, or an image."""

    type: str = _TEXT
    text: str = ""
    refusal: str = ""
    image_url: str = ""


Parts = Annotated[list[PartBody], BeforeValidator(_as_parts)]


class ItemBody(ResponsesModel):
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


class ToolBody(ResponsesModel):
    """A function the model may call, or a namespace of functions."""

    type: str = "function"
    name: str = ""
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None
    tools: list["ToolBody"] = Field(default_factory=list)


class ToolChoiceBody(ResponsesModel):
    """Whether tools may, must or must not be called, or which one must."""

    type: str = "auto"
    name: str = ""
    namespace: str = ""


class FormatBody(ResponsesModel):
    """The form of the answer's text."""

    type: str = "text"
    name: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextBody(ResponsesModel):
    """What is said about the answer's text."""

    format: FormatBody = FormatBody()


class ReasoningBody(ResponsesModel):
    """How much the model should think."""

    effort: str = ""


class ResponsesBody(ResponsesModel):
    """`POST /v1/responses`."""

    model: str = ""
    input: Annotated[list[ItemBody], BeforeValidator(_as_items)] = Field(default_factory=list)
    instructions: str = ""
    stream: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = Field(None, allow_inf_nan=False)
    top_p: float | None = Field(None, allow_inf_nan=False)
    reasoning: ReasoningBody = ReasoningBody()
    text: TextBody = TextBody()
    tools: list[ToolBody] = Field(default_factory=list, max_length=MAX_TOOLS)
    tool_choice: Annotated[ToolChoiceBody, BeforeValidator(_as_choice)] = ToolChoiceBody()
    parallel_tool_calls: bool | None = None
    previous_response_id: str = ""
    conversation: Any = None
    prompt: Any = None
    background: bool = False


_KINDS: Mapping[str, str] = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "too_long": f"a list of {MAX_TOOLS} at most",
}


def read_body(raw: bytes) -> ResponsesBody:
    """Decode and check a request body, whatever its Content-Type said; raise `InvalidRequest` that names the field."""
    value = read_json(raw)
    if not isinstance(value, dict):
        raise InvalidRequest("the request body must be a JSON object")
    try:
        return ResponsesBody.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{path} must be {_KINDS.get(first['type'], 'something else')}") from None
