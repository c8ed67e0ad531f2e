"""Writes canonical requests as chat-completions bodies; the rows of `upstreams.md` D.2 for this family of servers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.llm.tool_calls import MintId, ToolTurn, link_tool_results
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    ContentPart,
    JsonFormat,
    Message,
    TextPart,
    ToolCall,
    ToolSpec,
)
from backend.wire.jsontext import encode_json
from backend.wire.openai.options import OPTIONS, REASONING_DROPS, STOP_DROPS, Dialect
from backend.wire.openai.reasoning import ReasoningStyle, write_thinking
from backend.wire.options import write_options

JSON_HINT = "Answer in JSON."
FIM_TOKENS = 256
"""What a gap may be filled with when the caller named no limit: such models do not always stop by themselves."""
_RAW_TOKENS = 4096
"""vLLM's `/v1/completions` stops after 16 tokens unless told otherwise."""


@dataclass(frozen=True, slots=True)
class FimTemplate:
    """How a model family marks the text before and after a gap."""

    prefix: str
    suffix: str
    middle: str
    suffix_first: bool = False

    def write(self, before: str, after: str) -> str:
        """Return the prompt that asks for what stands between the two."""
        if self.suffix_first:
            return f"{self.suffix}{after}{self.prefix}{before}{self.middle}"
        return f"{self.prefix}{before}{self.suffix}{after}{self.middle}"


def keep_or_derive(original: str, message: int, call: int) -> str:
    """Return the id a call came with, or one that follows from its place."""
    if original:
        return original
    return "call_" + hashlib.sha256(f"{message}:{call}".encode()).hexdigest()[:16]


def write_chat(
    request: ChatRequest, dialect: Dialect, style: ReasoningStyle, mint: MintId = keep_or_derive
) -> dict[str, Any]:
    """Return the body of `POST /v1/chat/completions`; always streamed, so that it can be timed and cancelled."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [*_hint(request, dialect), *_write_messages(request.messages, dialect, mint)],
        "stream": True,
        "stream_options": {"include_usage": True},
        **write_options(request.sampling, OPTIONS[dialect]),
        **write_thinking(request.thinking, dialect, style),
    }
    if request.tools:
        body["tools"] = [write_tool(tool) for tool in request.tools]
        body |= write_tool_choice(request)
    if request.response_format is not None:
        body["response_format"] = _write_format(request.response_format, dialect)
    if request.logprobs:
        body["logprobs"] = True
        if request.top_logprobs:
            body["top_logprobs"] = request.top_logprobs
    if dialect is Dialect.VLLM and body["messages"] and body["messages"][-1]["role"] == "assistant":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if dialect is Dialect.LMSTUDIO and request.keep_alive is not None and request.keep_alive > 0:
        body["ttl"] = int(request.keep_alive)
    return _fit_reasoning_model(body, dialect, style)


def write_completion(request: CompletionRequest, fim: FimTemplate | None) -> dict[str, Any]:
    """Return the body of `POST /v1/completions`; with a suffix the prompt is written in the family's marks."""
    prompt = request.prompt
    if request.suffix is not None and fim is not None:
        prompt = fim.write(request.prompt, request.suffix)
    options = write_options(request.sampling, OPTIONS[Dialect.VLLM])
    limit = options.pop("max_completion_tokens", _RAW_TOKENS if request.suffix is None else FIM_TOKENS)
    return {
        "model": request.model,
        "prompt": prompt,
        "max_tokens": limit,
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }


def write_tool(tool: ToolSpec) -> dict[str, Any]:
    """Return a tool as these servers want it; servers refuse a function without parameters."""
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def write_tool_choice(request: ChatRequest) -> dict[str, Any]:
    """Return the fields that say whether and how tools are to be called; nothing where the caller said nothing."""
    fields: dict[str, Any] = {}
    if (choice := request.tool_choice) is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        fields["tool_choice"] = named if choice.name else choice.mode
    if request.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def write_call(call: ToolCall) -> dict[str, Any]:
    """Return a call of the history, its arguments as JSON text."""
    arguments = encode_json(dict(call.arguments)).decode()
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def write_content(message: Message) -> str | list[dict[str, Any]]:
    """Return plain text, or parts in their order when the message holds images."""
    return [*map(_write_part, message.content)] if message.images else message.text


def _write_part(part: ContentPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}}


def _write_messages(messages: Sequence[Message], dialect: Dialect, mint: MintId) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    for item in link_tool_results(messages, mint):
        if isinstance(item, ToolTurn):
            written.append(_write_message(item.assistant, dialect))
            written += [{"role": "tool", "tool_call_id": r.tool_call_id, "content": r.text} for r in item.results]
            written += [{"role": "tool", "tool_call_id": c.call_id, "content": "(no result)"} for c in item.unanswered]
            # A tool turn holds text only; what a tool has drawn is shown in a user turn after it.
            written += [
                {"role": "user", "content": write_content(Message("user", r.images))} for r in item.results if r.images
            ]
        elif item.role == "tool":
            written.append({"role": "user", "content": write_content(item)})
        else:
            written.append(_write_message(item, dialect))
    return written


def _write_message(message: Message, dialect: Dialect) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": write_content(message)}
    if message.thinking and dialect is not Dialect.OPENAI:
        written["reasoning" if dialect is Dialect.VLLM else "reasoning_content"] = message.thinking
    if message.tool_calls:
        written["tool_calls"] = [write_call(call) for call in message.tool_calls]
    return written


def _write_format(wanted: JsonFormat, dialect: Dialect) -> dict[str, Any]:
    if wanted.schema is None and dialect is not Dialect.LMSTUDIO:
        return {"type": "json_object"}
    schema = wanted.schema if wanted.schema is not None else {"type": "object"}
    strict = dialect is not Dialect.OPENAI
    return {
        "type": "json_schema",
        "json_schema": {"name": "response", "schema": dict(schema), "strict": strict},
    }


def _hint(request: ChatRequest, dialect: Dialect) -> list[Mapping[str, str]]:
    """OpenAI refuses `json_object` unless some message says JSON."""
    wanted = request.response_format
    if dialect is not Dialect.OPENAI or wanted is None or wanted.schema is not None:
        return []
    if any("json" in message.text.lower() for message in request.messages):
        return []
    return [{"role": "system", "content": JSON_HINT}]


def _fit_reasoning_model(body: dict[str, Any], dialect: Dialect, style: ReasoningStyle) -> dict[str, Any]:
    if dialect is not Dialect.OPENAI or style is ReasoningStyle.NONE:
        return body
    body = {k: v for k, v in body.items() if k not in REASONING_DROPS}
    if str(body["model"]).startswith(STOP_DROPS):
        body.pop("stop", None)
    return body
