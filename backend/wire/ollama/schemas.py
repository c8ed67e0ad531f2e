"""The request bodies of Ollama's native routes, read the way Go reads them (`ollama-wire.md` 0.4 and 2).

Keys match in any case and the last one wins, unknown keys are ignored, `null` means unset. What cannot be read is an
`InvalidRequest` whose text follows Ollama's.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from backend.core.errors import InvalidRequest
from backend.wire.body import TOO_DEEP, check_sizes, read_json

_LEVELS = ("high", "medium", "low", "max")
_DURATION = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|[+-]?0")
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_SECONDS = 10**10


def _read_think(value: Any) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value in _LEVELS):
        return value
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        raise InvalidRequest(f'invalid think value: {quoted} (must be "high", "medium", "low", "max", true, or false)')
    raise InvalidRequest('think must be a boolean or string ("high", "medium", "low", "max", true, or false)')


def _read_keep_alive(value: Any) -> float:
    """Return seconds; negative means for ever."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _bounded(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"Unsupported type: '{_go_type(value)}'")
    if not _DURATION.fullmatch(value):
        is_number = re.fullmatch(r"[+-]?\d+\.?\d*", value)
        reason = "missing unit in" if is_number else "invalid"
        raise InvalidRequest(f"time: {reason} duration {json.dumps(value, ensure_ascii=False)}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    return _bounded(-seconds if value.startswith("-") else seconds)


def _bounded(seconds: float) -> float:
    if not abs(seconds) <= _MAX_SECONDS:  # not the other way round: NaN is out of range too
        raise InvalidRequest('keep_alive is out of range; use seconds, or a duration such as "5m"')
    return float(seconds)


def _read_format(value: Any) -> Any:
    """`""` means unset; anything but "json" or a schema object is refused."""
    if value in ("", "json") or isinstance(value, dict):
        return value or None
    shown = json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False)
    raise InvalidRequest(f'invalid format: {shown}; expected "json" or a valid JSON Schema object')


Think = Annotated[bool | Literal["low", "medium", "high", "max"] | None, BeforeValidator(_read_think)]
KeepAlive = Annotated[float | None, BeforeValidator(_read_keep_alive)]
Format = Annotated[Any, BeforeValidator(_read_format)]


class OllamaModel(BaseModel):
    """A body read like Go's decoder: any case, no nulls, no surprise fields."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key.lower(): value for key, value in data.items() if value is not None}


class NamedModel(OllamaModel):
    """A body that names a model by `model` or by the older `name`."""

    model: str = ""
    name: str = ""

    @property
    def wanted(self) -> str:
        """Return the name the caller means; `model` wins."""
        return self.model or self.name


class FunctionCallBody(OllamaModel):
    """The function part of a tool call in the history."""

    name: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)


class ToolCallBody(OllamaModel):
    """A tool call in the history; `id` is often gone."""

    id: str = ""
    function: FunctionCallBody = FunctionCallBody()


class MessageBody(OllamaModel):
    """One turn as clients send it."""

    role: str = ""
    content: str = ""
    thinking: str = ""
    images: list[str] = Field(default_factory=list)
    tool_calls: list[ToolCallBody] = Field(default_factory=list)
    tool_name: str = ""
    tool_call_id: str = ""


class ToolFunctionBody(OllamaModel):
    """A function the model may call; the schema is kept whole."""

    name: str = ""
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class ToolBody(OllamaModel):
    """One entry of `tools`."""

    type: str = "function"
    function: ToolFunctionBody = ToolFunctionBody()


class InferenceBody(OllamaModel):
    """What chat and generate share."""

    model: str = ""
    stream: bool = True
    format: Format = None
    keep_alive: KeepAlive = None
    options: dict[str, Any] = Field(default_factory=dict)
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool = False
    top_logprobs: int = 0


class ChatBody(InferenceBody):
    """`POST /api/chat`."""

    messages: list[MessageBody] = Field(default_factory=list)
    tools: list[ToolBody] = Field(default_factory=list)


class GenerateBody(InferenceBody):
    """`POST /api/generate`."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[int] = Field(default_factory=list)
    raw: bool = False
    images: list[str] = Field(default_factory=list)


class EmbedBody(OllamaModel):
    """`POST /api/embed`."""

    model: str = ""
    input: Any = None
    truncate: bool = True
    dimensions: int = 0
    keep_alive: KeepAlive = None
    options: dict[str, Any] = Field(default_factory=dict)


class EmbeddingsBody(OllamaModel):
    """`POST /api/embeddings`, the older form."""

    model: str = ""
    prompt: str = ""
    keep_alive: KeepAlive = None
    options: dict[str, Any] = Field(default_factory=dict)


class ShowBody(NamedModel):
    """`POST /api/show`."""

    verbose: bool = False
    system: str = ""


class PullBody(NamedModel):
    """`POST /api/pull`; `insecure`, `username` and `password` are never read."""

    stream: bool = True


Body = TypeVar("Body", bound=OllamaModel)
_GO_TYPES = {
    "bool_type": "bool",
    "string_type": "string",
    "int_type": "int",
    "float_type": "float64",
    "dict_type": "map[string]interface {}",
}
_GO_LISTS = {
    "messages": "[]api.Message",
    "tools": "api.Tools",
    "images": "[]api.ImageData",
    "tool_calls": "[]api.ToolCall",
    "context": "[]int",
}


def read_body(raw: bytes, schema: type[Body]) -> Body:
    """Decode and check a request body, whatever its Content-Type said; raise `InvalidRequest` with Ollama's text."""
    return _check(read_json(raw), schema)


def _check(value: Any, schema: type[Body]) -> Body:
    is_older = schema is EmbeddingsBody
    go_name = "EmbeddingRequest" if is_older else schema.__name__.removesuffix("Body") + "Request"
    if value is None:
        value = {}
    check_sizes(value)
    if not isinstance(value, dict):
        raise InvalidRequest(f"json: cannot unmarshal {_json_type(value)} into Go value of type api.{go_name}")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest(_field_message(go_name, error)) from None
    except RecursionError:
        raise InvalidRequest(TOO_DEEP) from None


def _field_message(go_name: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if isinstance(part, str)]
    got = _json_type(first["input"])
    if path and path[-1] == "arguments":
        return "Value looks like object, but can't find closing '}' symbol"
    kind = _GO_TYPES.get(first["type"], _GO_LISTS.get(path[-1] if path else "", f"api.{first['type']}"))
    return f"json: cannot unmarshal {got} into Go struct field {go_name}.{'.'.join(path)} of type {kind}"


def _json_type(value: Any) -> str:
    names: Mapping[type, str] = {
        bool: "bool",
        str: "string",
        list: "array",
        dict: "object",
        int: "number",
        float: "number",
    }
    return names.get(type(value), "value")


def _go_type(value: Any) -> str:
    names: Mapping[type, str] = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
    return names.get(type(value), "value")
