"""Writes events as Ollama's replies: one JSON line per event batch entry, or one object for `stream: false`.

A chat token's line is `{"model":...,"created_at":...,"message":{"role":"assistant","content":"..."},"done":false}`;
generate has `"response":"..."` instead of `message`. `model` echoes what the client sent. Never a `null`, never a zero
duration or count: Ollama leaves those out and clients divide by them.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from backend.core.clock import Timestamps
from backend.core.errors import GatewayError
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta
from backend.llm.grounding import write_grounding
from backend.llm.types import ToolCall
from backend.wire.collected import Collected
from backend.wire.jsontext import encode_json, quote

CONTENT_TYPE = "application/x-ndjson"


def write_calls(calls: Sequence[ToolCall], first: int = 0) -> list[dict[str, Any]]:
    """Return calls as Ollama has them: `index` counts over the answer, arguments an object, the id if there is one."""
    return [
        {
            **({"id": call.call_id} if call.call_id else {}),
            "function": {"index": index, "name": call.name, "arguments": dict(call.arguments)},
        }
        for index, call in enumerate(calls, first)
    ]


def metrics(done: Finished) -> dict[str, Any]:
    """Return the last fields of an answer; counts and durations are at least 1."""
    usage, timings = done.usage, done.timings
    load, prompt, completion = (max(t or 1, 1) for t in (timings.load_ns, timings.prompt_ns, timings.completion_ns))
    return {
        "done_reason": done.reason,
        "total_duration": max(timings.total_ns or 1, load + prompt + completion),
        "load_duration": load,
        "prompt_eval_count": max(usage.prompt_tokens or 1, 1),
        "prompt_eval_duration": prompt,
        "eval_count": max(usage.completion_tokens or 1, 1),
        "eval_duration": completion,
    }


class Shape:
    """Where chat and generate replies differ."""

    def __init__(self, opening: bytes, closing: bytes, *, is_chat: bool) -> None:
        self.opening = opening
        self.closing = closing
        self.is_chat = is_chat

    def body(self, text: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the part of an object that holds the answer."""
        extra = {**({"thinking": thinking} if thinking else {}), **({"tool_calls": calls} if calls else {})}
        if self.is_chat:
            return {"message": {"role": "assistant", "content": text, **extra}}
        return {"response": text, **({"thinking": thinking} if thinking else {})}


CHAT = Shape(b'","message":{"role":"assistant","content":', b'},"done":false}\n', is_chat=True)
GENERATE = Shape(b'","response":', b',"done":false}\n', is_chat=False)


class LineEncoder:
    """Writes a streamed reply, one line per event; consecutive tool calls share a line."""

    content_type = CONTENT_TYPE

    def __init__(self, model: str, shape: Shape, timestamps: Timestamps) -> None:
        self._model = model
        self._shape = shape
        self._clock = timestamps
        self._calls_written = 0
        self._head = b'{"model":' + encode_json(model) + b',"created_at":"'

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Return the lines for these events; what came in one read bears one time."""
        now = self._clock.now()
        opening = b"".join((self._head, now.encode(), self._shape.opening))
        lines: list[bytes] = []
        calls: list[ToolCall] = []
        for event in events:
            if calls and type(event) is not ToolCall:
                self._flush_calls(calls, lines, now)
            if type(event) is TextDelta and event.logprobs is None:
                lines.append(b"".join((opening, quote(event.text), self._shape.closing)))
            elif isinstance(event, ToolCall):
                calls.append(event)
            else:
                self._other(event, lines, now)
        if calls:
            self._flush_calls(calls, lines, now)
        return lines[0] if len(lines) == 1 else b"".join(lines)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the line that tells a client in mid-answer that it failed."""
        return encode_json({"error": error.message}) + b"\n"

    def _other(self, event: ChatEvent, lines: list[bytes], now: str) -> None:
        match event:
            case TextDelta():
                lines.append(self._line(now, self._shape.body(event.text, "", []), {"logprobs": event.logprobs}))
            case ThinkingDelta():
                lines.append(self._line(now, self._shape.body("", event.text, []), {}))
            case Finished():
                context: dict[str, Any] = {} if self._shape.is_chat else {"context": []}
                lines.append(self._line(now, self._shape.body("", "", []), _finish(event, context), done=True))
            case Started() | ToolCall():
                pass
            case _:
                assert_never(event)

    def _flush_calls(self, calls: list[ToolCall], lines: list[bytes], now: str) -> None:
        lines.append(self._line(now, self._shape.body("", "", write_calls(calls, self._calls_written)), {}))
        self._calls_written += len(calls)
        calls.clear()

    def _line(self, now: str, body: dict[str, Any], rest: dict[str, Any], *, done: bool = False) -> bytes:
        return encode_json({"model": self._model, "created_at": now, **body, "done": done, **rest}) + b"\n"


class ObjectEncoder:
    """Writes a whole reply at the end: the stream, collected."""

    content_type = CONTENT_TYPE

    def __init__(self, model: str, shape: Shape, timestamps: Timestamps) -> None:
        self._model = model
        self._shape = shape
        self._clock = timestamps
        self._answer = Collected()

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Collect events; return the object once the answer is complete, nothing before."""
        done = self._answer.add(events)
        return b"" if done is None else self._object(done)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the error object; only reached when the status is already sent."""
        return encode_json({"error": error.message})

    def _object(self, done: Finished) -> bytes:
        answer = self._answer
        body = self._shape.body(answer.text, answer.thinking, write_calls(answer.calls))
        context: dict[str, Any] = {} if self._shape.is_chat else {"context": []}
        logprobs = {"logprobs": answer.logprobs} if answer.logprobs else {}
        head = {"model": self._model, "created_at": self._clock.now(), **body, "done": True}
        return encode_json({**head, **_finish(done, {**context, **logprobs})})


def _finish(done: Finished, extra: dict[str, Any]) -> dict[str, Any]:
    """Order the last fields as Ollama does: the reason, then what belongs to the answer, then the metrics."""
    fields = metrics(done)
    return {"done_reason": fields.pop("done_reason"), **extra, **fields, **write_grounding(done.grounding)}
