"""What Mistral's platform refuses, as a table: the rules of its serving validator for tokenizers v7, v11 and v13."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Written = Mapping[str, Any]
_ID = re.compile(r"[A-Za-z0-9]{9}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUCCESSORS = {
    "system": {"system", "user", "assistant"},
    "user": {"user", "assistant", "system"},
    "assistant": {"assistant", "user", "tool"},
    "tool": {"tool", "assistant", "user"},
}
_KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


@dataclass(frozen=True)
class Rules:
    """Which generation of the validator speaks."""

    version: int = 13
    user_after_tool_refused: bool = True
    empty_assistant_refused: bool = True

    def chunks(self, role: str) -> set[str]:
        """Return the chunk types a role may hold."""
        thinks = {"thinking"} if self.version >= 11 else set()
        return {"user": {"text", "image_url"}, "assistant": {"text"} | thinks}.get(role, {"text"})


def complaints(messages: Sequence[Written], rules: Rules) -> list[str]:
    """Return everything the platform would say against this conversation."""
    if not messages:
        return ["Conversation must have at least one message"]
    return [
        *_order(messages, rules),
        *_ends(messages),
        *_answers(messages, rules),
        *(text for message in messages for text in _message(message, rules)),
    ]


def _order(messages: Sequence[Written], rules: Rules) -> Iterator[str]:
    if len(messages) == 1 and messages[0]["role"] not in {"system", "user"}:
        yield "Conversation must start with a user message or system message"
    for before, after in pairwise(messages):
        legal = _SUCCESSORS[before["role"]] - ({"user"} if rules.user_after_tool_refused else set())
        legal |= _SUCCESSORS[before["role"]] if before["role"] != "tool" else set()
        if after["role"] not in legal:
            yield f"Unexpected role '{after['role']}' after role '{before['role']}'"


def _ends(messages: Sequence[Written]) -> Iterator[str]:
    last = messages[-1]
    if last["role"] == "assistant" and not last.get("prefix"):
        yield "Expected last role User or Tool (or Assistant with prefix) for serving but got assistant"
    if any(message.get("prefix") for message in messages[:-1]):
        yield "Assistant message with prefix True must be last message"


def _answers(messages: Sequence[Written], rules: Rules) -> Iterator[str]:
    called: list[str] = []
    results: list[str] = []
    for message in [*messages, {"role": "assistant"}]:
        if message["role"] == "tool":
            results.append(message["tool_call_id"])
        elif message["role"] == "assistant":
            yield from _compare(called, results, rules)
            called = [call["id"] for call in message.get("tool_calls") or ()]
            results = []


def _compare(called: list[str], results: list[str], rules: Rules) -> Iterator[str]:
    if len(called) != len(results):
        yield "Not the same number of function calls and responses"
    if rules.version < 11:
        return
    if len(set(called)) != len(called):
        yield "Duplicate tool call id in assistant message"
    if len(set(results)) != len(results):
        yield "Duplicate tool call id in tool results"
    if set(results) - set(called):
        yield "Unexpected tool call id in tool results"


def _message(message: Written, rules: Rules) -> Iterator[str]:
    role, content = message["role"], message.get("content")
    if set(message) - _KEYS[role]:
        yield "Extra inputs are not permitted"
    if content is None:
        yield "System prompt must have content" if role == "system" else "content must not be null"
    chunks = content if isinstance(content, list) else []
    if {chunk["type"] for chunk in chunks} - rules.chunks(role):
        yield f"Unexpected content chunk types in {role} message"
    if role == "assistant" and rules.empty_assistant_refused and not content and not message.get("tool_calls"):
        yield "Assistant message must have either content or tool_calls, but not none."
    for call in message.get("tool_calls") or ():
        yield from _call_id(call["id"], rules)
        if not _NAME.fullmatch(call["function"]["name"]):
            yield "Function name must be a-z, A-Z, 0-9, or contain underscores and dashes"
    if role == "tool":
        yield from _call_id(message["tool_call_id"], rules)


def _call_id(call_id: str, rules: Rules) -> Iterator[str]:
    if not call_id or call_id == "null":
        yield "Tool call id has to be defined."
    elif rules.version <= 11 and not _ID.fullmatch(call_id):
        yield "Tool call id must be a-z, A-Z, 0-9, with a length of 9."
