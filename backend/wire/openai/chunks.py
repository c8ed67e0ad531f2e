r"""Reads a chat-completions stream into events: one reader for Mistral, vLLM, llama.cpp, LM Studio, OpenAI and others.

Each event is `data: {chunk}\n\n`, the last `data: [DONE]`. What differs between servers is read liberally:

- `delta.content` is a string, null, or a list of chunks (Mistral: `text` and `thinking`);
- reasoning is the first of `reasoning`, `reasoning_content`, thinking chunks, or `<think>` tags (a lead-in);
- tool calls come whole or in pieces, with or without `index`, ids sometimes the string "null";
- usage rides on the last choice, on a chunk of its own, or not at all; llama.cpp adds `timings`;
- an error is a chunk with `error`, with `object: "error"`, or with `finish_reason: "error"`.

`[DONE]` may be missing after a `finish_reason`; when both are missing the answer was cut and that is an error.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from backend.llm.errors import ProviderError
from backend.llm.events import (
    ChatEvent,
    Finished,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    Timings,
    Usage,
    duration_ns,
    token_count,
)
from backend.llm.lead_in import LeadIn
from backend.llm.tool_calls import ToolCallAssembler
from backend.wire.decoder import Decoder
from backend.wire.framing import EventSplitter
from backend.wire.jsontext import UNREADABLE
from backend.wire.openai.errors import error_message

_FINISH: Mapping[str, FinishReason] = {"length": "length", "model_length": "length"}
"""Everything else that ends an answer reads as `stop` to an Ollama client."""
_MILLISECOND = 1e6
_FAILED = frozenset({"error", "abort"})


class _Thought(msgspec.Struct):
    text: str = ""


class _Part(msgspec.Struct):
    type: str = "text"
    text: str = ""
    thinking: list[_Thought] | str = ""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolPiece(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[_Part] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolPiece] | None = None


class _Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    object: str | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChunkDecoder(Decoder):
    """Turns the bytes of one answer into events; see the module for the grammar it accepts.

    Args:
        backend: the name errors are written with.
        max_line: bytes one event may have.
        lead_in: what to take out of the beginning of the text, if anything.
        show_thinking: False drops the model's reasoning, for callers that asked for none.
    """

    def __init__(
        self, backend: str, max_line: int, lead_in: LeadIn | None = None, *, show_thinking: bool = True
    ) -> None:
        super().__init__(backend, EventSplitter(max_line))
        self._lead_in = lead_in
        self._show_thinking = show_thinking
        self._tools = ToolCallAssembler()
        self._has_content = False
        self._reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}

    def read(self, payload: bytes, events: list[ChatEvent]) -> None:
        """See `Decoder.read`."""
        if payload.startswith(b"[DONE]"):
            if not self._has_content:
                raise self.ended_early()
            self._finish(events)
            return
        try:
            chunk = _decode(payload)
        except UNREADABLE as error:
            raise self.unreadable() from error
        if chunk.usage:
            self._usage = chunk.usage
        if chunk.timings or chunk.metrics:
            self._timings = {**(chunk.timings or {}), **(chunk.metrics or {})}
        if chunk.error is not None or chunk.object == "error":
            raise self._failure(payload)
        if chunk.choices:
            self._has_content = True
            self._choice(chunk.choices[0], events)

    def end(self, events: list[ChatEvent]) -> None:
        """See `Decoder.end`; a missing `[DONE]` is forgiven once a `finish_reason` was seen."""
        if self._reason is None:
            raise self.ended_early()
        self._finish(events)

    def _choice(self, choice: _Choice, events: list[ChatEvent]) -> None:
        delta = choice.delta or choice.message
        if delta is not None:
            if self._show_thinking and (thought := delta.reasoning or delta.reasoning_content):
                events.append(ThinkingDelta(thought))
            if content := delta.content:
                if type(content) is str:
                    self._text(content, choice.logprobs, events)
                else:
                    self._parts(content, events)  # type: ignore[arg-type]
            for piece in delta.tool_calls or ():
                function = piece.function or _Function()
                self._tools.add(piece.index, piece.id, function.name, function.arguments)
        elif choice.text:
            self._text(choice.text, None, events)
        if choice.finish_reason is not None:
            if choice.finish_reason in _FAILED:
                raise ProviderError(f"backend {self.backend!r} failed while answering; try again")
            self._reason = choice.finish_reason

    def _text(self, text: str, logprobs: _Logprobs | None, events: list[ChatEvent]) -> None:
        if self._lead_in is None:
            events.append(TextDelta(text, _plain_logprobs(logprobs.content)) if logprobs else TextDelta(text))
            return
        found = self._lead_in.feed(text)
        if logprobs and len(found) == 1 and isinstance(first := found[0], TextDelta) and first.text == text:
            first.logprobs = _plain_logprobs(logprobs.content)
        self._extend(found, events)
        if self._lead_in.done:
            self._lead_in = None

    def _extend(self, found: Iterable[TextDelta | ThinkingDelta], events: list[ChatEvent]) -> None:
        events.extend(e for e in found if self._show_thinking or isinstance(e, TextDelta))

    def _parts(self, parts: Sequence[_Part], events: list[ChatEvent]) -> None:
        for part in parts:
            if part.type == "thinking":
                thought = part.thinking
                text = thought if isinstance(thought, str) else "".join(t.text for t in thought)
                if text and self._show_thinking:
                    events.append(ThinkingDelta(text))
            elif part.type == "text" and part.text:
                self._text(part.text, None, events)

    def _finish(self, events: list[ChatEvent]) -> None:
        self.finished = True
        if self._lead_in is not None:
            self._extend(self._lead_in.close(), events)
        events.extend(self._tools.flush())
        reason = _FINISH.get(self._reason or "stop", "stop")
        events.append(Finished(reason, self._read_usage(), _read_timings(self._timings)))

    def _read_usage(self) -> Usage:
        if "predicted_n" in self._timings:
            prompt = (token_count(self._timings.get("cache_n")) or 0) + (
                token_count(self._timings.get("prompt_n")) or 0
            )
            return Usage(prompt or None, token_count(self._timings["predicted_n"]))
        return Usage(token_count(self._usage.get("prompt_tokens")), token_count(self._usage.get("completion_tokens")))

    def _failure(self, payload: bytes) -> ProviderError:
        return ProviderError(f"backend {self.backend!r} failed while answering: {error_message(payload)}")


def _read_timings(told: Mapping[str, Any]) -> Timings:
    """Read the times of llama.cpp (`timings`) or of vLLM (`metrics`), whichever were sent; both are milliseconds."""
    queued = duration_ns(told.get("queue_time_ms"), _MILLISECOND)
    to_first = duration_ns(told.get("time_to_first_token_ms"), _MILLISECOND)
    if to_first is not None:
        completion = duration_ns(told.get("generation_time_ms"), _MILLISECOND)
        return Timings(queued, max(to_first - (queued or 0), 0), completion)
    return Timings(
        prompt_ns=duration_ns(told.get("prompt_ms"), _MILLISECOND),
        completion_ns=duration_ns(told.get("predicted_ms"), _MILLISECOND),
    )


def _plain_logprobs(entries: object) -> list[dict[str, Any]] | None:
    """Keep of each entry what Ollama has: token, logprob, bytes and the top list."""
    if not isinstance(entries, list) or not entries:
        return None
    return [
        {
            **{k: entry[k] for k in ("token", "logprob", "bytes") if entry.get(k) is not None},
            **({"top_logprobs": top} if (top := _plain_logprobs(entry.get("top_logprobs"))) else {}),
        }
        for entry in entries
        if isinstance(entry, dict)
    ]
