"""Turns Responses bodies into canonical requests; items become turns, and what only a store could give is refused."""

from collections.abc import Iterator, Mapping
from typing import Literal

from backend.core.errors import InvalidRequest
from backend.llm.tool_calls import name_results
from backend.llm.types import (
    ChatRequest,
    ContentPart,
    JsonFormat,
    Message,
    Role,
    Sampling,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from backend.wire.body import MAX_IMAGES, MAX_TOOLS, read_json
from backend.wire.openai.content import read_image_url
from backend.wire.openai.inbound import read_effort
from backend.wire.responses.schemas import ItemBody, PartBody, ResponsesBody, ToolBody, ToolChoiceBody

_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_CHOICES: Mapping[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required"}
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_SEARCH = "web_search"
"""Agents offer this tool to every server; nothing here can search, so that the model is not told of it."""

Names = Mapping[str, tuple[str, str]]
"""Name the model knows a tool by -> its namespace and its name there; only tools that have a namespace."""


def read_request(body: ResponsesBody) -> ChatRequest:
    """Return the conversation a body asks to continue."""
    _refuse_state(body)
    if not body.input:
        raise InvalidRequest("input is required; send a string or a list of items")
    if sum(1 for item in body.input for part in (*item.content, *item.output) if part.image_url) > MAX_IMAGES:
        raise InvalidRequest(f"a conversation may hold {MAX_IMAGES} images at most; remove older ones")
    limit = body.max_output_tokens
    if limit is not None and limit < 1:
        raise InvalidRequest("max_output_tokens must be at least 1")
    tools = _read_tools(body)
    instructions = (Message("system", (TextPart(body.instructions),)),) if body.instructions else ()
    return ChatRequest(
        model=body.model,
        messages=(*instructions, *name_results(_read_items(body.input))),
        tools=tools,
        tool_choice=_read_choice(body.tool_choice, tools) if "tool_choice" in body.model_fields_set else None,
        parallel_tool_calls=body.parallel_tool_calls,
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p, max_tokens=limit),
        response_format=_read_format(body),
        thinking=read_effort(body.reasoning.effort),
        stream=body.stream,
    )


def read_names(body: ResponsesBody) -> Names:
    """Return how calls of tools in namespaces are told to the client."""
    return {name: (space, tool.name) for name, space, tool in _functions(body.tools) if space}


def _refuse_state(body: ResponsesBody) -> None:
    for name in ("previous_response_id", "conversation"):
        if getattr(body, name):
            raise InvalidRequest(
                f"{name} is not supported: nothing is stored here; send the whole conversation as input"
            )
    if body.prompt:
        raise InvalidRequest("prompt is not supported: no prompts are stored here; send instructions and input")
    if body.background:
        raise InvalidRequest("background is not supported: nothing is stored here; use stream instead")


def _read_items(items: list[ItemBody]) -> Iterator[Message]:
    """Put what the model said in one go (reasoning, text, calls) into one turn; other items are turns of their own."""
    turn = _Turn()
    for item in items:
        if item.type == "reasoning":
            turn.think(item)
        elif item.type == "function_call":
            turn.call(item)
        elif item.type == "message" and _role(item) == "assistant":
            if turn.text and not turn.calls:
                yield turn.close()
                turn = _Turn()
            turn.text += _read_parts(item.content)
        else:
            if not turn.is_empty:
                yield turn.close()
                turn = _Turn()
            yield _read_item(item)
    if not turn.is_empty:
        yield turn.close()


class _Turn:
    """A turn of the model that is being put together."""

    def __init__(self) -> None:
        self.text: tuple[ContentPart, ...] = ()
        self.calls: list[ToolCall] = []
        self.thoughts: list[str] = []

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.calls or self.thoughts)

    def think(self, item: ItemBody) -> None:
        """Take the reasoning itself if it is there, else its summary, else what we put in its place."""
        told = "".join(part.text for part in item.content) or "".join(part.text for part in item.summary)
        if thought := told or item.encrypted_content:
            self.thoughts.append(thought)

    def call(self, item: ItemBody) -> None:
        if not item.name:
            raise InvalidRequest("a function_call needs a name")
        if len(self.calls) >= MAX_TOOLS:
            raise InvalidRequest(f"a turn may hold {MAX_TOOLS} function calls at most")
        arguments = read_json(item.arguments.encode("utf-8", "replace")) if item.arguments.strip() else {}
        if not isinstance(arguments, dict):
            raise InvalidRequest("invalid tool call arguments; send a JSON object as a string")
        self.calls.append(ToolCall(item.call_id, _joined(item.namespace, item.name), arguments))

    def close(self) -> Message:
        return Message("assistant", self.text, "\n\n".join(self.thoughts), tuple(self.calls))


def _role(item: ItemBody) -> Role:
    role = _ROLES.get(item.role)
    if role is None:
        raise InvalidRequest(f"invalid role {item.role[:40]!r}; use user, assistant, system or developer")
    return role


def _read_item(item: ItemBody) -> Message:
    if item.type == "function_call_output":
        if not item.call_id:
            raise InvalidRequest("a function_call_output needs the call_id of the call it answers")
        return Message("tool", _read_parts(item.output), tool_call_id=item.call_id, tool_name=item.name)
    return Message(_role(item), _read_parts(item.content))


def _read_parts(parts: list[PartBody]) -> tuple[ContentPart, ...]:
    return tuple(part for part in map(_read_part, parts) if not isinstance(part, TextPart) or part.text)


def _read_part(part: PartBody) -> ContentPart:
    if part.type in _TEXTS:
        return TextPart(part.text)
    if part.type == "refusal":
        return TextPart(part.refusal)
    if part.type == "input_image":
        return read_image_url(part.image_url)
    raise InvalidRequest(f"content of type {part.type[:40]!r} is not supported; send input_text or input_image")


def _joined(namespace: str, name: str) -> str:
    return f"{namespace}__{name}" if namespace else name


def _functions(tools: list[ToolBody]) -> Iterator[tuple[str, str, ToolBody]]:
    """Yield each function with the name the model knows it by and its namespace ("" for none)."""
    for tool in tools:
        if tool.type == "namespace":
            yield from ((_joined(tool.name, inner.name), tool.name, inner) for inner in tool.tools)
        elif not tool.type.startswith(_SEARCH):
            yield tool.name, "", tool


def _read_tools(body: ResponsesBody) -> tuple[ToolSpec, ...]:
    specs: dict[str, ToolSpec] = {}
    for name, _, tool in _functions(body.tools):
        if tool.type != "function":
            raise InvalidRequest(f"tools of type {tool.type[:40]!r} are not supported; send functions")
        if not tool.name:
            raise InvalidRequest("every function in tools needs a name")
        if name in specs:
            raise InvalidRequest(f"two tools are named {name[:80]!r}; rename one")
        specs[name] = ToolSpec(name, tool.description, tool.parameters)
    if len(specs) > MAX_TOOLS:
        raise InvalidRequest(f"tools may hold {MAX_TOOLS} functions at most; send fewer")
    return tuple(specs.values())


def _read_choice(body: ToolChoiceBody, tools: tuple[ToolSpec, ...]) -> ToolChoice:
    if body.type == "function":
        name = _joined(body.namespace, body.name)
        if all(tool.name != name for tool in tools):
            raise InvalidRequest(f"tool_choice names {name[:80]!r}, which is not among the tools")
        return ToolChoice("required", name)
    mode = _CHOICES.get(body.type)
    if mode is None:
        raise InvalidRequest(f"tool_choice {body.type[:40]!r} is not supported; use auto, none, required or a function")
    if mode == "required" and not tools:
        raise InvalidRequest("tool_choice is required, but there are no functions among the tools")
    return ToolChoice(mode)


def _read_format(body: ResponsesBody) -> JsonFormat | None:
    wanted = body.text.format
    if wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return JsonFormat()
    if wanted.type != "json_schema":
        raise InvalidRequest(f"text.format {wanted.type[:40]!r} is not supported; use text, json_object or json_schema")
    if wanted.json_schema is None:
        raise InvalidRequest("text.format needs a schema")
    return JsonFormat(wanted.json_schema)
