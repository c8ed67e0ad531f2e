"""Writes answers for the side API: as server-sent events, or as nothing, where the stored message is the reply."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from backend.core.errors import GatewayError
from backend.llm.events import ChatEvent, Finished, TextDelta, ThinkingDelta
from backend.wire.jsontext import encode_json, quote

SSE = "text/event-stream; charset=utf-8"
HEARTBEAT = b": listening\n\n"


def write_event(name: str, data: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode_json(data))


class EventEncoder:
    """Implements `Encoder` with the events that those who follow a chat get, too."""

    content_type = SSE

    def __init__(self, chat_id: uuid.UUID, message_id: uuid.UUID) -> None:
        self._ids = {"chat_id": str(chat_id), "message_id": str(message_id)}
        head = encode_json(self._ids)[:-1]
        self._content = b"event: message_delta\ndata: " + head + b',"content":'
        self._thinking = b"event: message_delta\ndata: " + head + b',"thinking":'
        self._is_begun = False

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """See `Encoder.encode`."""
        out: list[bytes] = []
        if not self._is_begun:
            self._is_begun = True
            out.append(write_event("message_created", {**self._ids, "role": "assistant", "status": "pending"}))
        for event in events:
            if isinstance(event, TextDelta):
                out += (self._content, quote(event.text), b"}\n\n")
            elif isinstance(event, ThinkingDelta):
                out += (self._thinking, quote(event.text), b"}\n\n")
            elif isinstance(event, Finished):
                usage = {
                    "prompt_tokens": event.usage.prompt_tokens,
                    "completion_tokens": event.usage.completion_tokens,
                }
                told = {**self._ids, "status": "complete", "finish_reason": event.reason, **usage}
                out.append(write_event("message_completed", told))
        return b"".join(out)

    def encode_error(self, error: GatewayError) -> bytes:
        """See `Encoder.encode_error`."""
        return write_event("error", {**self._ids, "detail": error.message})


class NothingEncoder:
    """Implements `Encoder` where the reply is written from the store once the answer is there."""

    content_type = "application/json"

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Return something at the end, for an answer has an end."""
        return b"{}" if isinstance(events[-1], Finished) else b""

    def encode_error(self, error: GatewayError) -> bytes:
        """See `Encoder.encode_error`."""
        return encode_json({"detail": error.message})
