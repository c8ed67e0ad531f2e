"""Turns the request bodies of OpenAI's routes into canonical requests."""

from collections.abc import Mapping
from typing import Any

from backend.core.errors import InvalidRequest
from backend.llm.errors import ProviderProtocolError
from backend.llm.tool_calls import name_results, parse_arguments
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from backend.wire.body import MAX_IMAGES, MAX_STOP_LENGTH, MAX_STOPS, check_shape
from backend.wire.openai.content import read_content
from backend.wire.openai.schemas import (
    ChatBody,
    CompletionBody,
    EmbeddingsBody,
    FormatBody,
    FunctionCallBody,
    InferenceBody,
    MessageBody,
    ToolBody,
)
from backend.wire.roles import read_role

MAX_TOP_LOGPROBS = 20
_EFFORTS: Mapping[str, Thinking] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high",
    "xhigh": "max", "ultra": "max", "max": "max",
}  # fmt: skip


def read_chat(body: ChatBody) -> ChatRequest:
    """Return the conversation a chat body asks to continue; raise `InvalidRequest` for what cannot be honoured."""
    if not body.messages:
        raise InvalidRequest("[] is too short - 'messages'")
    tools = tuple(_read_tool(tool) for tool in body.tools)
    return ChatRequest(
        model=_read_model(body.model),
        messages=_read_messages(body.messages),
        tools=tools,
        tool_choice=_read_tool_choice(body.tool_choice, tools),
        parallel_tool_calls=body.parallel_tool_calls,
        sampling=_read_sampling(body, body.max_completion_tokens),
        response_format=_read_format(body.response_format),
        thinking=read_effort(body.reasoning.effort or body.reasoning_effort),
        logprobs=body.logprobs,
        top_logprobs=_read_top_logprobs("top_logprobs", body.top_logprobs),
        stream=body.stream,
    )


def read_completion(body: CompletionBody) -> ChatRequest | CompletionRequest:
    """Return a text completion: with a suffix a gap to fill, else, as Ollama does it, a conversation of one turn."""
    if body.echo:
        raise InvalidRequest("echo is not supported; put the prompt before the answer yourself")
    if body.best_of > 1:
        raise InvalidRequest("best_of must be 1; send the request again for each further answer")
    model, prompt, sampling = _read_model(body.model), _read_prompt(body.prompt), _read_sampling(body)
    if body.suffix:
        if body.logprobs is not None:
            raise InvalidRequest("fill-in requests take no logprobs here")
        return CompletionRequest(model, prompt, body.suffix, sampling, body.stream)
    if not prompt:
        raise InvalidRequest("the prompt is empty; send text to complete")
    return ChatRequest(
        model=model,
        messages=(Message("user", (TextPart(prompt),)),),
        sampling=sampling,
        logprobs=body.logprobs is not None,
        top_logprobs=_read_top_logprobs("logprobs", body.logprobs or 0),
        stream=body.stream,
    )


def read_embed(body: EmbeddingsBody) -> EmbedRequest:
    """Return the texts of an embeddings body."""
    if body.encoding_format.lower() not in ("", "float", "base64"):
        shown = body.encoding_format[:40]
        raise InvalidRequest(f"Invalid value for 'encoding_format' = {shown}. Supported values: ['float', 'base64'].")
    return EmbedRequest(body.model, _read_inputs(body.input), body.dimensions if body.dimensions > 0 else None)


def read_effort(effort: str) -> Thinking | None:
    """Return how much the model is to think; "" means that the caller said nothing."""
    if not effort:
        return None
    if effort not in _EFFORTS:
        raise InvalidRequest(
            f'invalid reasoning value: "{effort[:40]}" (must be "minimal", "low", "medium", "high", "xhigh", "ultra",'
            ' "max", or "none")'
        )
    return _EFFORTS[effort]


def _read_model(name: str) -> str:
    if not name:
        raise InvalidRequest("model is required")
    return name


def _read_messages(bodies: list[MessageBody]) -> tuple[Message, ...]:
    messages = tuple(name_results(map(_read_message, bodies)))
    if sum(len(message.images) for message in messages) > MAX_IMAGES:
        raise InvalidRequest(f"a conversation may hold {MAX_IMAGES} images at most; remove older ones")
    return messages


def _read_message(body: MessageBody) -> Message:
    role = read_role(body.role)
    thinking = body.reasoning or body.reasoning_content
    if body.content is None and not (body.tool_calls or thinking or role == "tool"):
        raise InvalidRequest("invalid message content type: <nil>")
    is_result = role == "tool"
    return Message(
        role=role,
        content=() if body.content is None else read_content(body.content),
        thinking=thinking,
        tool_calls=tuple(ToolCall(c.id, c.function.name, _read_arguments(c.function)) for c in body.tool_calls),
        tool_call_id=body.tool_call_id if is_result else "",
        tool_name=body.name if is_result else "",
    )


def _read_arguments(function: FunctionCallBody) -> Mapping[str, Any]:
    """Return the arguments of a call, which are JSON text; some clients send the object itself."""
    arguments = function.arguments
    try:
        read = parse_arguments(arguments) if isinstance(arguments, str) else arguments
    except ProviderProtocolError:
        read = None
    if not isinstance(read, dict):
        raise InvalidRequest("invalid tool call arguments")
    check_shape(read)
    return read


def _read_tool(body: ToolBody) -> ToolSpec:
    if body.type != "function":
        raise InvalidRequest(f"tools of type {body.type[:40]!r} are not supported; use function tools")
    if not body.function.name:
        raise InvalidRequest("a tool needs a function with a name")
    return ToolSpec(body.function.name, body.function.description, body.function.parameters)


def _read_tool_choice(choice: Any, tools: tuple[ToolSpec, ...]) -> ToolChoice | None:
    if choice is None or choice in ("auto", "none"):
        return None if choice is None else ToolChoice(choice)
    name = "" if choice == "required" else _read_named_choice(choice)
    if not tools or (name and name not in {tool.name for tool in tools}):
        raise InvalidRequest("tool_choice asks for a tool that is not among the tools of the request")
    return ToolChoice("required", name)


def _read_named_choice(choice: Any) -> str:
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequest(
            'tool_choice must be "auto", "none", "required" or {"type": "function", "function": {"name": ...}}'
        )
    return name


def _read_format(body: FormatBody) -> JsonFormat | None:
    if body.type == "text":
        return None
    if body.type == "json_object":
        return JsonFormat()
    if body.type != "json_schema":
        raise InvalidRequest(
            f"response_format of type {body.type[:40]!r} is not supported; use text, json_object or json_schema"
        )
    if body.json_schema.content is None:
        raise InvalidRequest("response_format of type json_schema needs json_schema.schema")
    return JsonFormat(body.json_schema.content)


def _read_sampling(body: InferenceBody, max_completion_tokens: int | None = None) -> Sampling:
    if body.n > 1:
        raise InvalidRequest("n must be 1; send the request again for each further answer")
    limit = body.max_tokens if max_completion_tokens is None else max_completion_tokens
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=None if body.top_k is None else max(body.top_k, 0),  # -1 is vLLM's word for off, 0 everybody's
        min_p=body.min_p,
        seed=body.seed,
        stop=_read_stop(body.stop),
        max_tokens=limit if limit is not None and limit > 0 else None,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repeat_penalty=body.repetition_penalty,
    )


def _read_stop(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if items is None:
        return ()
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise InvalidRequest("stop must be a string or a list of strings")
    if len(items) > MAX_STOPS or any(len(item) > MAX_STOP_LENGTH for item in items):
        raise InvalidRequest(f"stop may hold {MAX_STOPS} strings of {MAX_STOP_LENGTH} characters at most")
    return tuple(items)


def _read_top_logprobs(field: str, count: int) -> int:
    if not 0 <= count <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"{field} must be between 0 and {MAX_TOP_LOGPROBS}")
    return count


def _read_prompt(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise InvalidRequest("prompt must be one string; send one request per prompt, as text and not as tokens")
    return value


def _read_inputs(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise InvalidRequest("invalid input")
    if not all(isinstance(item, str) for item in value):
        raise InvalidRequest("input must be a string or a list of strings; tokens are not supported, send text")
    return tuple(value)
