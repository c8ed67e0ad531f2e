"""Writes canonical requests as Mistral's bodies: closed objects, so nothing is forwarded that is not listed here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest, JsonFormat
from backend.wire.mistral.messages import MessageStyle, text_of, write_messages
from backend.wire.mistral.reasoning import write_thinking
from backend.wire.openai.request import FIM_TOKENS, JSON_HINT, write_tool, write_tool_choice
from backend.wire.options import OptionRule, OptionTable, is_one, negative, write_options

OPTIONS: OptionTable = {
    "temperature": OptionRule("temperature", 0.0, 1.5),
    "top_p": OptionRule("top_p", 0.0001, 1.0),
    "max_tokens": OptionRule("max_tokens"),
    "seed": OptionRule("random_seed", omit=negative),
    "stop": OptionRule("stop"),
    "presence_penalty": OptionRule("presence_penalty", -2.0, 2.0),
    "frequency_penalty": OptionRule("frequency_penalty", -2.0, 2.0),
}
"""The Mistral column of `upstreams.md` D.1."""

EXTENDED_OPTIONS: OptionTable = {
    "top_k": OptionRule("top_k"),
    "repeat_penalty": OptionRule("repetition_penalty", omit=is_one),
}
"""Known to Mistral's newest SDK, not proven for every model; dropped for a model that refuses them."""

EXTENDED_FIELDS = frozenset({rule.target for rule in EXTENDED_OPTIONS.values()} | {"logprobs", "top_logprobs"})

_FIM_OPTIONS = frozenset({"temperature", "top_p", "max_tokens", "seed", "stop"})
_SCHEMA_NOISE = frozenset({"$schema", "$id"})


@dataclass(frozen=True, slots=True)
class ModelStyle:
    """What is known about the model a request goes to."""

    messages: MessageStyle
    extended: bool = True
    """Whether the extended options may be sent at all."""
    refused: frozenset[str] = frozenset()
    """Extended fields this model has refused before."""


def write_chat(request: ChatRequest, style: ModelStyle) -> dict[str, Any]:
    """Return the body of `POST /v1/chat/completions`, always streamed."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": write_messages(request.messages, style.messages),
        "stream": True,
        **write_options(request.sampling, OPTIONS),
        **(write_thinking(request.thinking, request.model) if style.messages.reasons else {}),
        **_extended(request, style),
    }
    if request.tools:
        body["tools"] = [_without_noise(write_tool(tool)) for tool in request.tools]
        body |= write_tool_choice(request)
    if request.response_format is not None:
        body["response_format"] = _write_format(request.response_format)
        if request.response_format.schema is None:
            _hint_json(body["messages"])
    return body


def write_fim(request: CompletionRequest) -> dict[str, Any]:
    """Return the body of `POST /v1/fim/completions`; without a suffix it is a plain continuation."""
    table = {name: rule for name, rule in OPTIONS.items() if name in _FIM_OPTIONS}
    body = {
        "model": request.model,
        "prompt": request.prompt,
        "stream": True,
        **write_options(request.sampling, table),
    }
    if request.suffix is not None:
        body["suffix"] = request.suffix
        body.setdefault("max_tokens", FIM_TOKENS)  # models may run on behind a gap
    return body


def write_embed(request: EmbedRequest) -> dict[str, Any]:
    """Return the body of `POST /v1/embeddings`; only codestral-embed takes a dimension."""
    body: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
    if request.dimensions and "codestral-embed" in request.model:
        body["output_dimension"] = request.dimensions
    return body


def _extended(request: ChatRequest, style: ModelStyle) -> dict[str, Any]:
    if not style.extended:
        return {}
    fields = write_options(request.sampling, EXTENDED_OPTIONS)
    if request.logprobs:
        fields["logprobs"] = True
        if request.top_logprobs:
            fields["top_logprobs"] = request.top_logprobs
    return {name: value for name, value in fields.items() if name not in style.refused}


def _write_format(wanted: JsonFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = close_objects(wanted.schema)
    return {"type": "json_schema", "json_schema": {"name": "response", "schema": schema, "strict": True}}


def close_objects(schema: Any) -> Any:
    """Add `additionalProperties: false` to every object of a schema that says nothing about it.

    That is what Ollama's grammar does with the same schema, and what Mistral's own SDK sends.
    """
    if isinstance(schema, list):
        return [close_objects(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = {key: close_objects(value) for key, value in schema.items()}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), Mapping):
        closed.setdefault("additionalProperties", False)
    return closed


def _without_noise(tool: dict[str, Any]) -> dict[str, Any]:
    parameters = tool["function"]["parameters"]
    tool["function"]["parameters"] = {k: v for k, v in parameters.items() if k not in _SCHEMA_NOISE}
    return tool


def _hint_json(messages: list[dict[str, Any]]) -> None:
    """Mistral may write white space for ever in JSON mode unless some message says JSON."""
    if any("json" in text_of(message["content"]).lower() for message in messages if message["role"] != "tool"):
        return
    if messages and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
        messages[0] = {**messages[0], "content": f"{messages[0]['content']}\n\n{JSON_HINT}"}
    else:
        messages.insert(0, {"role": "system", "content": JSON_HINT})
