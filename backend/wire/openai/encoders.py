r"""Writes events as OpenAI's replies: server-sent events ending in `data: [DONE]`, or one object when not streamed.

A token's event is `data: {...,"choices":[{"index":0,"delta":{"content":"..."},"finish_reason":null}]}\n\n`; text
completions have `"text":"..."` instead of `delta`. What stands before and after the text never changes within an
answer and is written once. Only the first delta names the role: OpenAI's own SDK joins the strings of all deltas.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from backend.core.errors import GatewayError
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta
from backend.llm.grounding import write_grounding
from backend.llm.types import ToolCall
from backend.wire.collected import Collected
from backend.wire.jsontext import encode_json, quote
from backend.wire.openai.error_reply import write_error

CONTENT_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
FINGERPRINT = "fp_ollama"
_ROLE = {"role": "assistant"}

MintId = Callable[[], str]


def mint_call_id() -> str:
    """Return an id for a tool call whose upstream gave none: OpenAI's clients need one to answer."""
    return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands at the top of every chunk of one reply."""

    response_id: str
    created: int
    model: str
    """As the client wrote it."""

    @classmethod
    def begin(cls, prefix: Literal["chatcmpl", "cmpl"], model: str) -> "Heading":
        """Return the heading of a reply that begins now."""
        return cls(f"{prefix}-{secrets.token_hex(12)}", int(time.time()), model)

    def fields(self, kind: str) -> dict[str, Any]:
        """Return the first fields of an object of this kind."""
        return {
            "id": self.response_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }


class ChatStreamEncoder:
    """Writes the chunks of a streamed chat completion."""

    content_type = CONTENT_TYPE

    def __init__(self, heading: Heading, *, include_usage: bool, mint: MintId = mint_call_id) -> None:
        self._fields = heading.fields("chat.completion.chunk")
        self._include_usage = include_usage
        self._mint = mint
        self._calls_written = 0
        head = b"data: " + encode_json(self._fields)[:-1] + b',"choices":[{"index":0,"delta":{'
        self._text_opening = head + b'"content":'
        self._thinking_opening = head + b'"content":"","reasoning":'
        self._is_begun = False

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Return the chunks for these events."""
        chunks: list[bytes] = []
        calls: list[ToolCall] = []
        for event in events:
            if calls and type(event) is not ToolCall:
                self._flush_calls(calls, chunks)
            if type(event) is TextDelta and event.logprobs is None and self._is_begun:
                chunks.append(b"".join((self._text_opening, quote(event.text), _CLOSING)))
            elif type(event) is ThinkingDelta and self._is_begun:
                chunks.append(b"".join((self._thinking_opening, quote(event.text), _CLOSING)))
            elif isinstance(event, ToolCall):
                calls.append(event)
            else:
                self._other(event, chunks)
        if calls:
            self._flush_calls(calls, chunks)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the event that tells a client in mid-answer that it failed; no `[DONE]` follows."""
        return stream_error(error)

    def _other(self, event: ChatEvent, chunks: list[bytes]) -> None:
        match event:
            case TextDelta():
                chunks.append(self._delta({"content": event.text}, logprobs=event.logprobs))
            case ThinkingDelta():
                chunks.append(self._delta({"content": "", "reasoning": event.text}))
            case Finished():
                self._finish(event, chunks)
            case Started() | ToolCall():
                pass
            case _:
                assert_never(event)

    def _flush_calls(self, calls: list[ToolCall], chunks: list[bytes]) -> None:
        written = write_calls(calls, self._mint, self._calls_written)
        chunks.append(self._delta({"content": "", "tool_calls": written}))
        self._calls_written += len(calls)
        calls.clear()

    def _delta(self, delta: dict[str, Any], logprobs: Sequence[Mapping[str, Any]] | None = None) -> bytes:
        role = {} if self._is_begun else _ROLE
        self._is_begun = True
        return self._chunk({"index": 0, "delta": {**role, **delta}, "finish_reason": None, **write_logprobs(logprobs)})

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return write_event({**self._fields, "choices": [choice]})

    def _finish(self, done: Finished, chunks: list[bytes]) -> None:
        if not self._is_begun:
            chunks.append(self._delta({"content": ""}))
        reason = "tool_calls" if self._calls_written else done.reason
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        chunks.append(write_event({**self._fields, "choices": [choice], **write_grounding(done.grounding)}))
        chunks += end_stream(self._fields, done, include_usage=self._include_usage)


_NOTHING: Mapping[str, Any] = {}


class CompletionStreamEncoder:
    """Writes the chunks of a streamed text completion; reasoning and tool calls have no place in it."""

    content_type = CONTENT_TYPE

    def __init__(self, heading: Heading, *, include_usage: bool) -> None:
        self._fields = heading.fields("text_completion")
        self._include_usage = include_usage
        self._opening = b"data: " + encode_json(self._fields)[:-1] + b',"choices":[{"index":0,"text":'

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Return the chunks for these events."""
        chunks: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(logprobs=None):
                    chunks.append(b"".join((self._opening, quote(event.text), _TEXT_CLOSING)))
                case TextDelta():
                    chunks.append(self._chunk(event.text, None, event.logprobs))
                case Finished():
                    chunks.append(self._chunk("", event.reason, None, write_grounding(event.grounding)))
                    chunks += end_stream(self._fields, event, include_usage=self._include_usage)
                case Started() | ThinkingDelta() | ToolCall():
                    pass
                case _:
                    assert_never(event)
        return b"".join(chunks)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the event that tells a client in mid-answer that it failed; no `[DONE]` follows."""
        return stream_error(error)

    def _chunk(
        self,
        text: str,
        reason: str | None,
        logprobs: Sequence[Mapping[str, Any]] | None,
        told: Mapping[str, Any] = _NOTHING,
    ) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": reason, **write_text_logprobs(logprobs)}
        return write_event({**self._fields, "choices": [choice], **told})


class ChatObjectEncoder:
    """Writes a whole chat completion at the end."""

    content_type = CONTENT_TYPE

    def __init__(self, heading: Heading, *, mint: MintId = mint_call_id) -> None:
        self._heading = heading
        self._mint = mint
        self._answer = Collected()

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Collect events; return the object once the answer is complete, nothing before."""
        done = self._answer.add(events)
        return b"" if done is None else self._object(done)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the error object; only reached when the status is already sent."""
        return write_error(error)

    def _object(self, done: Finished) -> bytes:
        answer = self._answer
        message: dict[str, Any] = {**_ROLE, "content": answer.text}
        if thinking := answer.thinking:
            message["reasoning"] = thinking
        if answer.calls:
            message["tool_calls"] = write_calls(answer.calls, self._mint)
        reason = "tool_calls" if answer.calls else done.reason
        choice = {"index": 0, "message": message, "finish_reason": reason, **write_logprobs(answer.logprobs)}
        head = self._heading.fields("chat.completion")
        told = {"usage": write_usage(done), **write_grounding(done.grounding)}
        return encode_json({**head, "choices": [choice], **told})


class CompletionObjectEncoder:
    """Writes a whole text completion at the end."""

    content_type = CONTENT_TYPE

    def __init__(self, heading: Heading) -> None:
        self._heading = heading
        self._answer = Collected()

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Collect events; return the object once the answer is complete, nothing before."""
        done = self._answer.add(events)
        if done is None:
            return b""
        logprobs = write_text_logprobs(self._answer.logprobs)
        choice = {"index": 0, "text": self._answer.text, "finish_reason": done.reason, **logprobs}
        head = self._heading.fields("text_completion")
        told = {"usage": write_usage(done), **write_grounding(done.grounding)}
        return encode_json({**head, "choices": [choice], **told})

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the error object; only reached when the status is already sent."""
        return write_error(error)


_CLOSING = b'},"finish_reason":null}]}\n\n'
_TEXT_CLOSING = b',"finish_reason":null}]}\n\n'


def write_event(value: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + encode_json(value) + b"\n\n"


def stream_error(error: GatewayError) -> bytes:
    """Return the event that tells of a failure in mid-answer."""
    return b"data: " + write_error(error) + b"\n\n"


def end_stream(fields: Mapping[str, Any], done: Finished, *, include_usage: bool) -> list[bytes]:
    """Return what follows the last choice: the counts where they were asked for, and the end mark."""
    usage = [write_event({**fields, "choices": [], "usage": write_usage(done)})] if include_usage else []
    return [*usage, DONE]


def write_usage(done: Finished) -> dict[str, int]:
    """Return the token counts of an answer."""
    prompt, completion = done.usage.prompt_tokens or 0, done.usage.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def write_calls(calls: Sequence[ToolCall], mint: MintId, first: int = 0) -> list[dict[str, Any]]:
    """Return calls as OpenAI has them: whole, counted over the answer, arguments as JSON text, never without an id."""
    return [
        {
            "id": call.call_id or mint(),
            "index": index,
            "type": "function",
            "function": {"name": call.name, "arguments": encode_json(dict(call.arguments)).decode()},
        }
        for index, call in enumerate(calls, first)
    ]


def write_logprobs(entries: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return the field of a choice that holds log probabilities, with all that OpenAI's types require; maybe empty."""
    if not entries:
        return {}
    content = [{**_logprob(entry), "top_logprobs": _top_logprobs(entry)} for entry in entries]
    return {"logprobs": {"content": content}}


def write_text_logprobs(entries: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return that field for a text completion: OpenAI's lists, beside what Ollama has there; maybe empty."""
    written = write_logprobs(entries)
    if not written:
        return {}
    told = written["logprobs"]["content"]
    return {
        "logprobs": {
            "tokens": [entry["token"] for entry in told],
            "token_logprobs": [entry["logprob"] for entry in told],
            "top_logprobs": [{top["token"]: top["logprob"] for top in entry["top_logprobs"]} for entry in told],
            "content": told,
        }
    }


def _top_logprobs(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    tops = entry.get("top_logprobs")
    return [_logprob(top) for top in tops if isinstance(top, dict)] if isinstance(tops, list) else []


def _logprob(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what OpenAI's types require, whatever an upstream sent."""
    token = str(entry.get("token", ""))
    logprob, spelled = entry.get("logprob"), entry.get("bytes")
    return {
        "token": token,
        "logprob": logprob if isinstance(logprob, (int, float)) else 0.0,
        "bytes": spelled if isinstance(spelled, list) else list(token.encode("utf-8", "replace")),
    }
