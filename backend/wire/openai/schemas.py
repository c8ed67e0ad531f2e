"""The request bodies of OpenAI's routes: `null` means unset, what is unknown is ignored, a wrong type is told by name.

Where a field may be of several types it is `Any` here and read in `backend.wire.openai.inbound`.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backend.core.errors import InvalidRequest
from backend.wire.body import TOO_DEEP, check_sizes, read_json

Integer = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]


class OpenAIModel(BaseModel):
    """A body without nulls and surprise fields."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class FunctionCallBody(OpenAIModel):
    """The function part of a tool call in the history; arguments are JSON text."""

    name: str = ""
    arguments: Any = ""


class ToolCallBody(OpenAIModel):
    """A tool call in the history."""

    id: str = ""
    function: FunctionCallBody = FunctionCallBody()


class MessageBody(OpenAIModel):
    """One turn; `content` is text, a list of parts, or nothing beside tool calls."""

    role: str = ""
    content: Any = None
    reasoning: str = ""
    reasoning_content: str = ""
    name: str = ""
    tool_calls: list[ToolCallBody] = Field(default_factory=list)
    tool_call_id: str = ""


class ToolFunctionBody(OpenAIModel):
    """A function the model may call; the schema is kept whole."""

    name: str = ""
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class ToolBody(OpenAIModel):
    """One entry of `tools`."""

    type: str = "function"
    function: ToolFunctionBody = ToolFunctionBody()


class JsonSchemaBody(OpenAIModel):
    """The schema an answer has to match; its name and strictness are the upstream's business."""

    content: dict[str, Any] | None = Field(None, alias="schema")


class FormatBody(OpenAIModel):
    """`response_format`."""

    type: str = "text"
    json_schema: JsonSchemaBody = JsonSchemaBody()


class ReasoningBody(OpenAIModel):
    """`reasoning`, another spelling of `reasoning_effort`."""

    effort: str = ""


class StreamOptionsBody(OpenAIModel):
    """`stream_options`."""

    include_usage: bool = False


class InferenceBody(OpenAIModel):
    """What chat and text completions share."""

    model: str = ""
    stream: bool = False
    stream_options: StreamOptionsBody = StreamOptionsBody()
    n: Integer = 1
    max_tokens: Integer | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Integer | None = None
    min_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repetition_penalty: Number | None = None
    seed: Integer | None = None
    stop: Any = None


class ChatBody(InferenceBody):
    """`POST /v1/chat/completions`."""

    messages: list[MessageBody] = Field(default_factory=list)
    max_completion_tokens: Integer | None = None
    tools: list[ToolBody] = Field(default_factory=list)
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: FormatBody = FormatBody()
    reasoning: ReasoningBody = ReasoningBody()
    reasoning_effort: str = ""
    logprobs: bool = False
    top_logprobs: Integer = 0


class CompletionBody(InferenceBody):
    """`POST /v1/completions`."""

    prompt: Any = None
    suffix: str | None = None
    echo: bool = False
    best_of: Integer = 1
    logprobs: Integer | None = None


class EmbeddingsBody(OpenAIModel):
    """`POST /v1/embeddings`."""

    model: str = ""
    input: Any = None
    dimensions: Integer = 0
    encoding_format: str = "float"


Body = TypeVar("Body", bound=OpenAIModel)
_EMPTY = "EOF"
"""What Ollama tells an empty body on these routes."""
_KINDS = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


def read_body(raw: bytes, schema: type[Body]) -> Body:
    """Decode and check a request body, whatever its Content-Type said; raise `InvalidRequest` that names the field."""
    value = read_json(raw, when_empty=_EMPTY)
    check_sizes(value)
    if not isinstance(value, dict):
        raise InvalidRequest("the request body must be a JSON object")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest(_field_message(error)) from None
    except RecursionError:
        raise InvalidRequest(TOO_DEEP) from None


def _field_message(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    kind = _KINDS.get(first["type"])
    return f"{field} must be {kind}" if kind else f"{field} is out of range"
