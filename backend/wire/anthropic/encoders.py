r"""Writes events as the messages API does: named server-sent events, or one message for `stream: false`.

A stream is `message_start`, then per block of content `content_block_start`, `_delta`s and `_stop`, then
`message_delta` with what became of it, and `message_stop`. What the model says is one block until it does something
else (thinks, speaks, calls a tool). A token's event is
`event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"..."}}`,
of which everything but the text is written once per block.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, assert_never

from backend.core.errors import GatewayError
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta
from backend.llm.grounding import write_grounding
from backend.llm.types import ToolCall
from backend.wire.anthropic.errors import write_error
from backend.wire.jsontext import encode_json, quote

CONTENT_TYPE = "text/event-stream; charset=utf-8"
_DELTA_END = b"}}\n\n"

MintId = Callable[[str], str]
"""A prefix -> a new id that begins with it."""


def mint_id(prefix: str) -> str:
    """Return a new id, such as `msg_` and 24 hexadecimal digits."""
    return f"{prefix}_{random.getrandbits(96):024x}"


class EventEncoder:
    """Writes a streamed answer.

    Args:
        model: the name the caller sent, which the answer repeats.
        prompt_tokens: an estimate, told before the upstream has counted.
        request_id: goes into an error.
        mint: makes the ids of the message and of tool calls that came without one.
    """

    content_type = CONTENT_TYPE

    def __init__(self, model: str, prompt_tokens: int, request_id: str, mint: MintId = mint_id) -> None:
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._request_id = request_id
        self._mint = mint
        self._message_id = mint("msg")
        self._is_started = False
        self._has_calls = False
        self._index = -1
        self._open: type[ChatEvent] | None = None
        self._delta = b""
        """How every delta of the open block begins."""

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Return the events of the wire for these; nothing until there is something to tell."""
        written: list[bytes] = []
        for event in events:
            if isinstance(event, (TextDelta, ThinkingDelta)):
                if not event.text:
                    continue
                if type(event) is not self._open:
                    self._change_to(type(event), written)
                written.append(b"".join((self._delta, quote(event.text), _DELTA_END)))
            else:
                self._other(event, written)
        return written[0] if len(written) == 1 else b"".join(written)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the event that tells a client in mid-answer that it failed."""
        return b"".join((b"event: error\ndata: ", write_error(error, self._request_id), b"\n\n"))

    def _other(self, event: Started | ToolCall | Finished, written: list[bytes]) -> None:
        match event:
            case ToolCall():
                self._call(event, written)
            case Finished():
                self._start(written)
                self._close(written)
                written.append(_event("message_delta", _ending(event, has_calls=self._has_calls)))
                written.append(_event("message_stop", {}))
            case Started():
                pass
            case _:
                assert_never(event)

    def _start(self, written: list[bytes]) -> None:
        """Begin the message with the first thing there is to tell: until then a failure still is a status."""
        if not self._is_started:
            self._is_started = True
            usage = {"input_tokens": self._prompt_tokens, "output_tokens": 0}
            message = _message(self._message_id, self._model, [], {"stop_reason": None, "stop_sequence": None}, usage)
            written.append(_event("message_start", {"message": message}))

    def _change_to(self, kind: type[TextDelta] | type[ThinkingDelta], written: list[bytes]) -> None:
        """Close the open block and begin one of this kind."""
        if kind is TextDelta:
            self._begin({"type": "text", "text": ""}, "text_delta", "text", written)
        else:
            self._begin({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking", written)
        self._open = kind

    def _call(self, call: ToolCall, written: list[bytes]) -> None:
        """Write a whole block: calls are complete when they become events."""
        self._has_calls = True
        block = _write_call(call, self._mint)
        arguments = encode_json(block["input"]).decode()
        self._begin({**block, "input": {}}, "input_json_delta", "partial_json", written)
        written.append(b"".join((self._delta, quote(arguments), _DELTA_END)))
        self._open = ToolCall
        self._close(written)

    def _begin(self, block: dict[str, Any], delta: str, field: str, written: list[bytes]) -> None:
        self._start(written)
        self._close(written)
        self._index += 1
        head = f'{{"type":"content_block_delta","index":{self._index},"delta":{{"type":"{delta}","{field}":'
        self._delta = b"event: content_block_delta\ndata: " + head.encode()
        written.append(_event("content_block_start", {"index": self._index, "content_block": block}))

    def _close(self, written: list[bytes]) -> None:
        if self._open is not None:
            self._open = None
            written.append(_event("content_block_stop", {"index": self._index}))


class ObjectEncoder:
    """Writes a whole message at the end: the stream, collected.

    Args:
        model: the name the caller sent, which the answer repeats.
        request_id: goes into an error.
        mint: as in `EventEncoder`.
    """

    content_type = CONTENT_TYPE

    def __init__(self, model: str, request_id: str, mint: MintId = mint_id) -> None:
        self._model = model
        self._request_id = request_id
        self._mint = mint
        self._message_id = mint("msg")
        self._blocks: list[dict[str, Any]] = []
        self._has_calls = False
        self._kind: type[ChatEvent] | None = None
        """What the pieces below are of."""
        self._pieces: list[str] = []

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Collect events; return the message once the answer is complete, nothing before."""
        written = b""
        for event in events:
            match event:
                case TextDelta() | ThinkingDelta():
                    if type(event) is not self._kind and event.text:
                        self._close()
                        self._kind = type(event)
                    self._pieces.append(event.text)
                case ToolCall():
                    self._close()
                    self._has_calls = True
                    self._blocks.append(_write_call(event, self._mint))
                case Finished():
                    self._close()
                    written = self._whole(event)
                case Started():
                    pass
                case _:
                    assert_never(event)
        return written

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the error object; only reached when the status is already sent."""
        return write_error(error, self._request_id)

    def _close(self) -> None:
        """Make a block of what was said since the last one."""
        text = "".join(self._pieces)
        self._pieces.clear()
        if self._kind is TextDelta:
            self._blocks.append({"type": "text", "text": text})
        elif self._kind is ThinkingDelta:
            self._blocks.append({"type": "thinking", "thinking": text, "signature": ""})
        self._kind = None

    def _whole(self, done: Finished) -> bytes:
        end = _ending(done, has_calls=self._has_calls)
        message = _message(self._message_id, self._model, self._blocks, end["delta"], end["usage"])
        return encode_json({**message, **write_grounding(done.grounding)})


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"".join((b"event: ", name.encode(), b"\ndata: ", encode_json({"type": name, **fields}), b"\n\n"))


def _message(
    message_id: str, model: str, content: list[dict[str, Any]], stop: dict[str, str | None], usage: dict[str, int]
) -> dict[str, Any]:
    head = {"id": message_id, "type": "message", "role": "assistant", "model": model, "content": content}
    return {**head, **stop, "usage": usage}


def _write_call(call: ToolCall, mint: MintId) -> dict[str, Any]:
    call_id = call.call_id or mint("toolu")
    return {"type": "tool_use", "id": call_id, "name": call.name, "input": dict(call.arguments)}


def _ending(done: Finished, *, has_calls: bool) -> dict[str, Any]:
    """Return why the answer ended and what it took; which stop sequence ended it, no upstream tells."""
    reason = "tool_use" if has_calls else "max_tokens" if done.reason == "length" else "end_turn"
    usage = {"input_tokens": done.usage.prompt_tokens or 1, "output_tokens": done.usage.completion_tokens or 1}
    stop = {"stop_reason": reason, "stop_sequence": None}
    return {"delta": stop, "usage": usage, **write_grounding(done.grounding)}
