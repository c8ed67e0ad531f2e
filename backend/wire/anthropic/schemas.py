"""The request bodies of the messages API: unknown fields are ignored, `null` means unset, wrong types are refused.

What has no meaning for other models is not read: `metadata`, `cache_control`, `budget_tokens`, `service_tier`.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from backend.core.errors import InvalidRequest
from backend.wire.body import read_json

MAX_MESSAGES, MAX_BLOCKS, MAX_CALLS, MAX_TOOLS = 10_000, 20_000, 128, 512
_MAX_STOPS, _MAX_STOP_LENGTH, _MAX_NUMBER = 64, 1024, 2**31 - 1
_BLOCKS = frozenset(
    {"text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result"},
)
_TEXT_OR_BLOCKS = ("system", "content")
_WORDS = {
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
}


class AnthropicModel(BaseModel):
    """A body whose nulls mean unset."""

    model_config = ConfigDict(
        extra="ignore", strict=True, hide_input_in_errors=True, protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {key: item for key, item in data.items() if item is not None} if isinstance(data, dict) else data


def _as_blocks(value: Any) -> Any:
    """Read a plain string as one block of text."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}] if value else []
    return value


def _known_block(value: Any) -> Any:
    """Refuse by name what nobody here could read, before its fields are looked at."""
    kind = value.get("type", "") if isinstance(value, dict) else "text"
    if not isinstance(kind, str) or kind not in _BLOCKS:
        raise InvalidRequest(f"content blocks of type {str(kind)[:40]!r} are not supported here; leave them out")
    return value


Content = Annotated[
    list[Annotated["BlockBody", BeforeValidator(_known_block)]],
    BeforeValidator(_as_blocks, json_schema_input_type=str | list["BlockBody"]),
]
"""A string, or a list of blocks."""


class SourceBody(AnthropicModel):
    """Where an image or a document comes from."""

    type: str = ""
    data: str = ""
    content: Content = Field(default_factory=list)


class BlockBody(AnthropicModel):
    """One block of content; which fields count depends on its type."""

    type: str
    text: str = ""
    thinking: str = ""
    source: SourceBody = Field(default_factory=SourceBody)
    title: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] = Field(default_factory=dict)
    tool_use_id: str = ""
    content: Content = Field(default_factory=list)
    is_error: bool = False


class MessageBody(AnthropicModel):
    """One turn."""

    role: str = ""
    content: Content = Field(default_factory=list)


class ToolBody(AnthropicModel):
    """A tool; one without `type`, or of type `custom`, is the caller's own."""

    type: str = "custom"
    name: str = ""
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=dict)


class ToolChoiceBody(AnthropicModel):
    """Whether tools may or must be used: `auto`, `any`, `tool` (by name) or `none`."""

    type: str = ""
    name: str = ""
    disable_parallel_tool_use: bool = False


class ThinkingBody(AnthropicModel):
    """Whether the model should think: `enabled`, `disabled`, or anything else for its own default."""

    type: str = ""


class FormatBody(AnthropicModel):
    """The form the answer must have."""

    type: str = ""
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class OutputConfigBody(AnthropicModel):
    """How much effort to spend, and the form of the answer."""

    effort: str = ""
    format: FormatBody | None = None


class PromptBody(AnthropicModel):
    """`POST /v1/messages/count_tokens`, and what it shares with a request for an answer."""

    model: str = ""
    messages: list[MessageBody] = Field(default_factory=list)
    system: Content = Field(default_factory=list)
    tools: list[ToolBody] = Field(default_factory=list)
    tool_choice: ToolChoiceBody | None = None
    thinking: ThinkingBody = ThinkingBody()
    output_config: OutputConfigBody = OutputConfigBody()


class MessagesBody(PromptBody):
    """`POST /v1/messages`."""

    max_tokens: int = Field(default=0, le=_MAX_NUMBER)
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = Field(default=None, ge=-1, le=_MAX_NUMBER)
    stop_sequences: list[Annotated[str, Field(max_length=_MAX_STOP_LENGTH)]] = Field(
        default_factory=list, max_length=_MAX_STOPS
    )


Body = TypeVar("Body", bound=PromptBody)


def read_body(raw: bytes, schema: type[Body]) -> Body:
    """Decode and check a request body; raise `InvalidRequest` that names the field at fault."""
    value = read_json(raw)
    if not isinstance(value, dict):
        raise InvalidRequest("the request body must be a JSON object")
    _check_sizes(value)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest(_describe(error)) from None
    except RecursionError:
        raise InvalidRequest("the JSON is nested too deeply") from None


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "list_type" and place.endswith(_TEXT_OR_BLOCKS):
        return f"{place}: must be a string or a list of content blocks"
    message = first["msg"]
    return f"{place}: {_WORDS.get(first['type'], message[:1].lower() + message[1:])}"


def _check_sizes(value: dict[str, Any]) -> None:
    """Refuse lists that are too long before anything is built from them."""
    messages = _items(value, "messages")
    if len(messages) > MAX_MESSAGES:
        raise InvalidRequest(f"messages may hold {MAX_MESSAGES} items at most; send fewer")
    if len(_items(value, "tools")) > MAX_TOOLS:
        raise InvalidRequest(f"tools may hold {MAX_TOOLS} items at most; send fewer")
    waiting = [_items(value, "system"), *(_items(message, "content") for message in messages)]
    total = 0
    while waiting:
        blocks = waiting.pop()
        total += len(blocks)
        if total > MAX_BLOCKS:
            raise InvalidRequest(f"a conversation may hold {MAX_BLOCKS} content blocks at most; send fewer")
        for kind in ("tool_use", "tool_result"):
            if len(blocks) > MAX_CALLS and sum(_kind(block) == kind for block in blocks) > MAX_CALLS:
                raise InvalidRequest(f"a message may hold {MAX_CALLS} {kind} blocks at most")
        waiting += [inside for block in blocks for inside in _inside(block)]


def _items(value: Any, name: str) -> list[Any]:
    items = value.get(name) if isinstance(value, dict) else None
    return items if isinstance(items, list) else []


def _kind(block: Any) -> Any:
    return block.get("type") if isinstance(block, dict) else None


def _inside(block: Any) -> list[list[Any]]:
    """Return the lists of blocks that a block holds: a tool's result, the source of a document."""
    if not isinstance(block, dict):
        return []
    return [items for items in (_items(block, "content"), _items(block.get("source"), "content")) if items]
