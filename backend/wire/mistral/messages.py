"""Puts a conversation into the order Mistral accepts (`upstreams.md` A.4), without losing what was said.

Mistral refuses conversations that every Ollama server takes: a user turn after a tool turn, results that do not match
the calls one to one, ids that are not nine letters or digits, a system turn in the middle. `normalise` mends all of
that, deterministically, so that the same history is sent the same way each time.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.llm.tool_calls import ToolTurn, link_tool_results
from backend.llm.types import ContentPart, Message, TextPart, ToolCall
from backend.wire.openai.request import write_call
from backend.wire.tool_ids import mint_id

_INVALID_IN_NAME = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_NAME_LENGTH = 64
_NO_RESULT = "(no result)"
_BRIDGE = "OK."


@dataclass(frozen=True, slots=True)
class MessageStyle:
    """What the model behind the request takes."""

    reasons: bool
    """Whether the history's thinking is sent back as thinking chunks."""
    bridge_after_tool: bool = True
    """Whether a short assistant turn is put between a tool turn and a user turn, which older models refuse."""


def normalise(messages: Sequence[Message], *, bridge_after_tool: bool = True, reasons: bool = True) -> list[Message]:
    """Return the conversation in an order Mistral accepts; see the module.

    Args:
        messages: the conversation as the client sent it.
        bridge_after_tool: as in `MessageStyle`.
        reasons: as in `MessageStyle`; a turn that only thought says nothing to a model that does not reason.
    """
    spoken = _hoist_system(_drop_empty(_move_images(messages), reasons=reasons))
    linked = _link(spoken)
    if all(message.role == "system" for message in linked):
        linked = [replace(message, role="user") for message in linked]
    if not linked or (len(linked) == 1 and linked[0].role == "assistant"):
        linked = [Message("user"), *linked]
    return _bridge(linked) if bridge_after_tool else linked


def write_messages(messages: Sequence[Message], style: MessageStyle) -> list[dict[str, Any]]:
    """Return the normalised conversation as Mistral's JSON; a trailing assistant turn becomes a prefix."""
    ordered = normalise(messages, bridge_after_tool=style.bridge_after_tool, reasons=style.reasons)
    written = [_write(message, style) for message in ordered]
    if written[-1]["role"] == "assistant":
        written[-1]["prefix"] = True
    return written


def answer_prefix(written: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that Mistral will repeat at the start of its answer to these written messages, or ""."""
    last = written[-1]
    return text_of(last["content"]) if last.get("prefix") else ""


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a written message, whatever its form."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _move_images(messages: Sequence[Message]) -> Iterator[Message]:
    """Only user turns may show images: those of system and assistant turns follow in a user turn of their own."""
    for message in messages:
        if message.images and message.role in {"system", "assistant"}:
            yield replace(message, content=(TextPart(message.text),) if message.text else ())
            yield Message("user", message.images)
        else:
            yield message


def _drop_empty(messages: Iterable[Message], *, reasons: bool) -> list[Message]:
    def says_something(message: Message) -> bool:
        if message.role == "assistant":
            return bool(_has_content(message) or (message.thinking and reasons) or message.tool_calls)
        return message.role == "tool" or _has_content(message)

    return [message for message in messages if says_something(message)]


def _has_content(message: Message) -> bool:
    return bool(message.text or message.images)


def _hoist_system(messages: Sequence[Message]) -> list[Message]:
    """Move system turns that follow an assistant or tool turn up into the leading system turn."""
    lead: list[Message] = []
    rest: list[Message] = []
    late: list[str] = []
    for message in messages:
        if message.role != "system":
            rest.append(message)
        elif any(earlier.role in {"assistant", "tool"} for earlier in rest):
            late.append(message.text)
        elif rest:
            rest.append(message)
        else:
            lead.append(message)
    if not late:
        return [*lead, *rest]
    text = "\n\n".join([*(message.text for message in lead), *late])
    return [Message("system", (TextPart(text),)), *rest]


def _link(messages: Sequence[Message]) -> list[Message]:
    """Give calls and results matching ids, answer every call, and turn results without a call into user text."""
    linked: list[Message] = []
    for item in link_tool_results(messages, mint_id):
        if isinstance(item, ToolTurn):
            linked.append(replace(item.assistant, tool_calls=tuple(map(_with_valid_name, item.assistant.tool_calls))))
            linked += [replace(r, content=(TextPart(r.text),)) for r in item.results]
            linked += [
                Message("tool", (TextPart(_NO_RESULT),), tool_call_id=c.call_id, tool_name=c.name)
                for c in item.unanswered
            ]
            linked += [Message("user", r.images) for r in item.results if r.images]
        elif item.role == "tool":
            linked.append(replace(item, role="user", tool_name=""))
        else:
            linked.append(item)
    return linked


def _with_valid_name(call: ToolCall) -> ToolCall:
    """Mistral refuses names with other characters, although other models may have called such tools before."""
    return replace(call, name=_INVALID_IN_NAME.sub("_", call.name)[:_NAME_LENGTH] or "function")


def _bridge(messages: Iterable[Message]) -> list[Message]:
    bridged: list[Message] = []
    for message in messages:
        if bridged and bridged[-1].role == "tool" and message.role in {"user", "system"}:
            bridged.append(Message("assistant", (TextPart(_BRIDGE),)))
        bridged.append(message)
    return bridged


def _write(message: Message, style: MessageStyle) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": _write_content(message, style)}
    if message.tool_calls:
        written["tool_calls"] = [write_call(call) for call in message.tool_calls]
    if message.role == "tool":
        written["tool_call_id"] = message.tool_call_id
        if message.tool_name and not _INVALID_IN_NAME.search(message.tool_name[:_NAME_LENGTH]):
            written["name"] = message.tool_name[:_NAME_LENGTH]
    return written


def _write_content(message: Message, style: MessageStyle) -> str | list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = []
    if message.thinking and message.role == "assistant" and style.reasons:
        chunks.append({"type": "thinking", "thinking": [{"type": "text", "text": message.thinking}]})
    if not chunks and not message.images:
        return message.text
    chunks += map(_write_part, message.content)
    return chunks


def _write_part(part: ContentPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": f"data:{part.media_type};base64,{part.data}"}
