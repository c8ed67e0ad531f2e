r"""The side of Ollama's format that we call: requests to an Ollama machine, its lines back into events.

A line is one JSON object and `\n`; the last has `done: true`, an error in mid-answer is a line `{"error": "..."}`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.errors import ProviderError, ProviderProtocolError
from backend.llm.events import ChatEvent, Finished, TextDelta, ThinkingDelta, Timings, Usage, duration_ns, token_count
from backend.llm.tool_calls import parse_arguments
from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest, Message, ToolCall
from backend.wire.decoder import Decoder
from backend.wire.framing import LineSplitter
from backend.wire.jsontext import UNREADABLE
from backend.wire.nulls import without_nulls
from backend.wire.ollama.options import write_sampling
from backend.wire.openai.errors import clean


class _Call(msgspec.Struct):
    class Function(msgspec.Struct):
        name: str = ""
        arguments: dict[str, Any] | str | None = None

    function: Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    error: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    prompt_eval_count: int | float | None = None
    eval_count: int | float | None = None
    total_duration: int | float | None = None
    load_duration: int | float | None = None
    prompt_eval_duration: int | float | None = None
    eval_duration: int | float | None = None


_decode = msgspec.json.Decoder(_Line).decode


class LineDecoder(Decoder):
    """Turns the bytes of one chat or generate answer into events."""

    def __init__(self, backend: str, max_line: int) -> None:
        super().__init__(backend, LineSplitter(max_line))

    def read(self, payload: bytes, events: list[ChatEvent]) -> None:
        """See `Decoder.read`."""
        if not payload:
            return
        try:
            line = _decode(payload)
        except UNREADABLE as error:
            raise self.unreadable() from error
        if line.error is not None:
            raise ProviderError(f"backend {self.backend!r} failed while answering: {clean(line.error)}")
        message = line.message or _Message(line.response, line.thinking)
        if message.thinking:
            events.append(ThinkingDelta(message.thinking))
        if message.content or line.logprobs:
            events.append(TextDelta(message.content or "", line.logprobs))
        events.extend(ToolCall(c.id or "", c.function.name, _arguments(c)) for c in message.tool_calls or ())
        if line.done:
            self.finished = True
            events.append(_finish(line))

    def end(self, events: list[ChatEvent]) -> None:  # noqa: ARG002 (nothing can be finished without the last line)
        """See `Decoder.end`."""
        raise self.ended_early()


def _arguments(call: _Call) -> Mapping[str, Any]:
    """Return a call's arguments; servers that only look like Ollama may send them as JSON text."""
    arguments = call.function.arguments
    return parse_arguments(arguments) if isinstance(arguments, str) else arguments or {}


def _finish(line: _Line) -> Finished:
    return Finished(
        "length" if line.done_reason == "length" else "stop",
        Usage(token_count(line.prompt_eval_count), token_count(line.eval_count)),
        Timings(
            duration_ns(line.load_duration),
            duration_ns(line.prompt_eval_duration),
            duration_ns(line.eval_duration),
            duration_ns(line.total_duration),
        ),
    )


class _Mark(msgspec.Struct):
    """What tells whether a line is the last one."""

    done: bool = False
    error: str | None = None


_decode_mark = msgspec.json.Decoder(_Mark).decode
_MORE = b',"done":false}\n'
"""How Ollama ends every line that is neither the last nor an error; such lines are not looked into."""


_ERROR = b'{"error"'


def _telling_line(lines: bytes) -> int:
    """Return where the first error line begins, or else the last line."""
    if lines.startswith(_ERROR):
        return 0
    found = lines.find(b"\n" + _ERROR)
    return found + 1 if found >= 0 else lines.rstrip(b"\n").rfind(b"\n") + 1


class LineTap:
    """Lets an Ollama answer through untouched, whole lines at a time, and notices how it ended.

    Only the beginning and end of each read are looked at, so a token costs no JSON work. An error line is kept back in
    `failure`; the lines before it are let through first.
    """

    def __init__(self, backend: str, max_line: int) -> None:
        self._backend = backend
        self._max_line = max_line
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._last = b""
        self.finished = False
        self.failure: ProviderError | None = None

    def feed(self, data: bytes) -> bytes:
        """Return the whole lines these bytes complete."""
        head, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._hold(rest)
            return b""
        if self._tail:
            head = b"".join((*self._tail, head))
            self._tail.clear()
            self._tail_size = 0
        if rest:
            self._hold(rest)
        return self._inspect(head + newline)

    def close(self) -> bytes:
        """Take the end of the body, which may lack its line end."""
        rest = b"".join(self._tail)
        self._tail.clear()
        written = self._inspect(rest) if rest else b""
        if not self.finished and self.failure is None:
            self.failure = ProviderProtocolError(f"backend {self._backend!r} ended its answer early; try again")
        return b"" if not self.finished and not written.endswith(b"\n") else written

    def last_line(self) -> Mapping[str, Any]:
        """Return the decoded line that completed the answer, or an empty mapping."""
        try:
            value = msgspec.json.decode(self._last) if self.finished else {}
        except UNREADABLE:
            return {}
        return value if isinstance(value, dict) else {}

    def _inspect(self, lines: bytes) -> bytes:
        """Look into the one line of a read that can tell an end or an error; keep what follows it back."""
        if lines.endswith(_MORE) and _ERROR not in lines:
            return lines
        if not lines.strip():
            return b""
        start = _telling_line(lines)
        line = lines[start:].partition(b"\n")[0]
        try:
            mark = _decode_mark(line)
        except UNREADABLE:
            self.failure = ProviderProtocolError(f"backend {self._backend!r} sent an unreadable answer; try again")
            return lines[:start]
        if mark.error is not None:
            self.failure = ProviderError(f"backend {self._backend!r} failed while answering: {clean(mark.error)}")
            return lines[:start]
        if mark.done:
            self._last = line
            self.finished = True
        return lines

    def _hold(self, data: bytes) -> None:
        self._tail_size += len(data)
        if self._tail_size > self._max_line:
            raise ProviderProtocolError(f"backend {self._backend!r} sent a line of more than {self._max_line} bytes")
        self._tail.append(data)


def write_chat(request: ChatRequest) -> dict[str, Any]:
    """Return the body of `POST /api/chat`, always streamed."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_write_message(message) for message in request.messages],
        "stream": True,
    }
    if request.tools and not (request.tool_choice and request.tool_choice.mode == "none"):
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
            }
            for t in request.tools
        ]
    if request.response_format is not None:
        schema = request.response_format.schema
        body["format"] = "json" if schema is None else schema
    if request.thinking is not None:
        body["think"] = request.thinking
    if request.keep_alive is not None:
        body["keep_alive"] = request.keep_alive
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if options := write_sampling(request.sampling):
        body["options"] = options
    return body


def write_completion(request: CompletionRequest) -> dict[str, Any]:
    """Return the body of `POST /api/generate` for a raw prompt or a gap."""
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt, "stream": True}
    body |= {"raw": True} if request.suffix is None else {"suffix": request.suffix}
    if options := write_sampling(request.sampling):
        body["options"] = options
    return body


def write_embed(request: EmbedRequest) -> dict[str, Any]:
    """Return the body of `POST /api/embed`."""
    body: dict[str, Any] = {
        "model": request.model,
        "input": list(request.inputs),
        "truncate": request.truncate,
    }
    return body | ({"dimensions": request.dimensions} if request.dimensions else {})


def _write_message(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.thinking:
        written["thinking"] = message.thinking
    if message.images:
        written["images"] = [image.data for image in message.images]
    if message.tool_calls:
        written["tool_calls"] = [
            {
                **({"id": c.call_id} if c.call_id else {}),
                "function": {"index": i, "name": c.name, "arguments": c.arguments},
            }
            for i, c in enumerate(message.tool_calls)
        ]
    links = {"tool_name": message.tool_name, "tool_call_id": message.tool_call_id}
    return written | {key: value for key, value in links.items() if value}


class _List(msgspec.Struct):
    models: list[Any] | None = None


_decode_list = msgspec.json.Decoder(_List).decode


def read_models(body: bytes, backend: str) -> list[ModelInfo]:
    """Return the models of `GET /api/tags`, each with the entry it had there."""
    try:
        listed = _decode_list(body).models or []
    except UNREADABLE as error:
        raise ProviderProtocolError(f"backend {backend!r} sent an unreadable model list") from error
    entries = [entry for entry in listed if isinstance(entry, dict)]
    return [_read_entry(entry) for entry in entries if isinstance(entry.get("model") or entry.get("name"), str)]


def _read_entry(entry: dict[str, Any]) -> ModelInfo:
    details = entry.get("details")
    details = details if isinstance(details, dict) else {}
    known = {capability.value for capability in Capability}
    listed = entry.get("capabilities")
    words = [word for word in listed if isinstance(word, str)] if isinstance(listed, list) else []
    found = {Capability(word) for word in words if word in known}
    length = details.get("context_length")
    return ModelInfo(
        model_id=str(entry.get("model") or entry.get("name")),
        capabilities=frozenset(found),
        context_length=length if isinstance(length, int) else None,
        family=str(details.get("family") or ""),
        native=_readable_entry(entry),
    )


def _readable_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop nulls, and the fields that would make stock clients start a cloud sign-in."""
    dropped = {"remote_model", "remote_host"}
    return {key: value for key, value in without_nulls(entry).items() if key not in dropped}


class EmbedReply(msgspec.Struct):
    """The reply of `POST /api/embed`, or of `POST /api/embeddings` with its one `embedding`."""

    embeddings: list[list[float]] = []
    embedding: list[float] = []
    prompt_eval_count: int | float | None = None


read_embed_reply = msgspec.json.Decoder(EmbedReply).decode
