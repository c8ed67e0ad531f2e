"""The turns of a conversation in one form, and a fingerprint of everything up to each of them.

Clients send a conversation back in shapes of their own: without ids, with or without thinking, an empty text left out,
text and image in two turns (`clients.md` 6). What they all keep is what is fingerprinted: whose turn it is, its text
without white space around it, the names and arguments of calls, the results of tools, what images look like.
"""

import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import msgspec

from backend.llm.types import ImagePart, Message, Role, TextPart, ToolCall

DIGEST_BYTES = 16
_THOUGHT = re.compile(r"\s*<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL)
"""Thinking that a client, or a server without a parser for it, leaves at the beginning of an answer."""
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_DEPTH = 50
_MAX_NUMBER = 2**53
_MAX_DIGITS = 100

_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation as it is kept."""

    role: Role
    text: str
    digest: bytes
    """The fingerprint of the conversation up to and with this turn."""
    calls: tuple[Mapping[str, Any], ...] = ()
    """An assistant's calls, or on a tool's turn the one call it answers, as far as the client says."""


class Fingerprint:
    """A hash that grows with a conversation; two conversations of one user that look alike have the same."""

    __slots__ = ("_hash", "_last")

    def __init__(self, user_id: uuid.UUID) -> None:
        self._hash = blake2b(user_id.bytes, digest_size=DIGEST_BYTES)
        self._last = ""

    def add(
        self, role: str, text: str, calls: Iterable[ToolCall] = (), images: Iterable[ImagePart] = ()
    ) -> "Fingerprint":
        """Take in one message; neighbours of one role count as one turn, except results of tools."""
        parts: list[bytes] = []
        if role != self._last or role == "tool":
            parts.append(b"\x00" + role.encode())
            self._last = role
        if said := spoken(role, text):
            parts += (b"\x01", said.encode())
        for call in calls if role == "assistant" else ():
            parts += (b"\x02", keepable(call.name).encode(), b"\x03", _canonical(call.arguments))
        parts += [b"\x04" + blake2b(image.data.encode("utf-8", "replace")).digest() for image in images]
        self._hash.update(b"".join(parts))
        return self

    def digest(self) -> bytes:
        """Return the fingerprint of what was taken in until now."""
        return self._hash.digest()

    def copy(self) -> "Fingerprint":
        """Return one that goes its own way from here."""
        other: Fingerprint = object.__new__(Fingerprint)
        other._hash, other._last = self._hash.copy(), self._last
        return other


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request says of its conversation."""

    turns: Sequence[Turn]
    """All turns but those of the system; the last is not the assistant's."""
    fingerprint: Fingerprint
    """Of all of them; goes on with the answer."""

    known: int
    """How many of them the client has sent before: all through the last answer."""


def read_conversation(user_id: uuid.UUID, messages: Sequence[Message]) -> Conversation:
    """Return the turns of a request; an answer that the model shall go on with is left out."""
    said = [message for message in messages if message.role != "system"]
    while said and said[-1].role == "assistant":
        said.pop()
    fingerprint = Fingerprint(user_id)
    turns: list[Turn] = []
    for message in said:
        text, images = message.text, message.images
        digest = fingerprint.add(message.role, text, message.tool_calls, images).digest()
        turn = Turn(message.role, keepable(text), digest, _calls(message))
        if turns and turn.role == "user" == turns[-1].role and not turn.text:
            turns[-1] = replace(turns[-1], digest=digest)
        else:
            turns.append(turn)
    answers = [place for place, turn in enumerate(turns, 1) if turn.role == "assistant"]
    return Conversation(turns, fingerprint, answers[-1] if answers else 0)


def spoken(role: str, text: str) -> str:
    """Return what of a text counts: without white space around it, and without thinking before an answer."""
    if role == "assistant" and "<" in text[:200] and (found := _THOUGHT.match(text)):
        text = text[found.end() :]
    return keepable(text).strip()


def keepable(text: str) -> str:
    """Return a text that every database can hold: what none of them can is replaced."""
    return text if text.isascii() and "\x00" not in text else _UNKEEPABLE.sub("\ufffd", text)


def kept_calls(calls: Sequence[ToolCall]) -> tuple[Mapping[str, Any], ...]:
    """Return calls as they are kept."""
    return tuple({"id": keepable(c.call_id), "name": keepable(c.name), "arguments": _plain(c.arguments)} for c in calls)


def message_of(role: Role, text: str, thinking: str, calls: Sequence[Mapping[str, Any]]) -> Message:
    """Return a kept turn as a request has it."""
    content = (TextPart(text),) if text else ()
    if role == "tool":
        call: Mapping[str, Any] = calls[0] if calls else {}
        return Message(role, content, tool_call_id=call.get("id", ""), tool_name=call.get("name", ""))
    made = tuple(ToolCall(call["id"], call["name"], call["arguments"]) for call in calls)
    return Message(role, content, thinking=thinking, tool_calls=made)


def _calls(message: Message) -> tuple[Mapping[str, Any], ...]:
    if message.role == "tool":
        if not message.tool_call_id and not message.tool_name:
            return ()
        return ({"id": keepable(message.tool_call_id), "name": keepable(message.tool_name)},)
    return kept_calls(message.tool_calls) if message.role == "assistant" and message.tool_calls else ()


def _canonical(arguments: Mapping[str, Any]) -> bytes:
    """Return arguments as JSON in one order; what JSON cannot hold counts as nothing."""
    try:
        return _encode(_plain(arguments))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return b""


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a JSON value whose texts can be kept and whose numbers are written one way."""
    if isinstance(value, str):
        return keepable(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    return _plain_inside(value, depth + 1) if depth < _MAX_DEPTH else None


def _plain_inside(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {keepable(str(name)): _plain(inner, depth) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, depth) for inner in value]
    return keepable(str(value))


def _number(value: float) -> float | str | None:
    if isinstance(value, int):
        return value if abs(value) <= _MAX_NUMBER else str(value)[:_MAX_DIGITS]
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) <= _MAX_NUMBER else value
