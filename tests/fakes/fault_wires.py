"""What a fault-injecting server writes: the bytes of two wire formats and HTTP cut to measure."""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

ANSWER = ("Bonjour", ", été", " 世界 😀", " !")
PROMPT_TOKENS = 9
PAUSE = 0.15  # lets everything sent so far pass through the gateway before trouble starts
SECRET = "sk-LEAKME"  # noqa: S105 - a canary: upstream error texts hold it, clients must never see it


def compact(value: Any) -> bytes:
    """Encode as the upstreams do: one line, no blanks, letters beyond ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def usage(prompt: int = PROMPT_TOKENS, completion: int = len(ANSWER)) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class Wire(Protocol):
    """How one wire format writes the parts of an answer."""

    @property
    def content_type(self) -> str: ...
    def lead(self) -> bytes: ...
    def token(self, text: str) -> bytes: ...
    def last(self, reason: str = "stop", counts: dict[str, int] | None = None) -> bytes: ...
    def end(self) -> bytes: ...
    def tool_call(self, arguments: str) -> bytes: ...
    def error(self) -> bytes: ...
    def whole(self, text: str) -> bytes: ...
    def refusal(self, status: int) -> bytes: ...


@dataclass(frozen=True)
class Sse:
    """Chat completions as Mistral streams them."""

    model: str
    content_type: str = "text/event-stream; charset=utf-8"

    def chunk(self, choices: list[dict[str, Any]], **extra: Any) -> bytes:
        head = {"id": "3f0b1c5d7e9a4b2c8d6f0a1b2c3d4e5f", "object": "chat.completion.chunk"}
        body = {**head, "created": 1795168800, "model": self.model, "choices": choices, **extra}
        return b"data: " + compact(body) + b"\n\n"

    def delta(self, delta: dict[str, Any], reason: str | None = None, **extra: Any) -> bytes:
        return self.chunk([{"index": 0, "delta": delta, "finish_reason": reason}], **extra)

    def lead(self) -> bytes:
        return self.delta({"role": "assistant", "content": ""})

    def token(self, text: str) -> bytes:
        return self.delta({"content": text}, p="abcdef")

    def last(self, reason: str = "stop", counts: dict[str, int] | None = None) -> bytes:
        extra = {"usage": counts} if counts else {}
        return self.delta({"content": ""}, reason, **extra)

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def tool_call(self, arguments: str) -> bytes:
        function = {"name": "get_weather", "arguments": arguments}
        calls = [{"id": "gSIMJiOkT", "function": function, "index": 0}]
        return self.delta({"content": "", "tool_calls": calls}, "tool_calls", usage=usage())

    def error(self) -> bytes:
        body = {"object": "error", "message": f"Service unavailable. {SECRET}", "code": "1000"}
        return b"data: " + compact(body) + b"\n\n"

    def whole(self, text: str) -> bytes:
        message = {"role": "assistant", "tool_calls": None, "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        head = {"id": "e5f60718293a4b5c6d7e8f90a1b2c3d4", "object": "chat.completion", "created": 1795168805}
        return compact({**head, "model": self.model, "choices": [choice], "usage": usage()})

    def refusal(self, status: int) -> bytes:
        text = f"upstream says {SECRET}"
        if status == 422:
            detail = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": text, "input": 42}]
            return compact({"object": "error", "message": {"detail": detail}, "code": None})
        return compact({"object": "error", "message": text, "type": "some_type", "param": None, "code": "1"})


@dataclass(frozen=True)
class Ndjson:
    """/api/chat as Ollama streams it."""

    model: str
    content_type: str = "application/x-ndjson"

    def line(self, done: bool, content: str, **extra: Any) -> bytes:
        message = {"role": "assistant", "content": content}
        head = {"model": self.model, "created_at": "2026-11-20T10:00:00.123456789Z", "message": message}
        return compact({**head, "done": done, **extra}) + b"\n"

    def lead(self) -> bytes:
        return b""

    def token(self, text: str) -> bytes:
        return self.line(done=False, content=text)

    def last(self, reason: str = "stop", counts: dict[str, int] | None = None) -> bytes:
        return self.line(done=True, content="", done_reason=reason, **self.totals(counts))

    def totals(self, counts: dict[str, int] | None) -> dict[str, int]:
        times = {"total_duration": 4_000_000, "load_duration": 1_000_000}
        if counts is None:
            return times
        spent = {"prompt_eval_count": counts["prompt_tokens"], "eval_count": counts["completion_tokens"]}
        return {**times, **spent, "prompt_eval_duration": 1_000_000, "eval_duration": 2_000_000}

    def end(self) -> bytes:
        return b""

    def tool_call(self, arguments: str) -> bytes:
        call = {"function": {"name": "get_weather", "arguments": arguments}}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        return compact({"model": self.model, "message": message, "done": False}) + b"\n" + self.last()

    def error(self) -> bytes:
        return compact({"error": "an error was encountered while running the model"}) + b"\n"

    def whole(self, text: str) -> bytes:
        return self.line(done=True, content=text, done_reason="stop", **self.totals(usage()))

    def refusal(self, status: int) -> bytes:
        return compact({"error": f"upstream says {SECRET} ({status})"})


@dataclass
class Exchange:
    """One chat request on the upstream's side and the means to answer it well or badly."""

    wire: Wire
    writer: asyncio.StreamWriter
    streaming: bool
    attempt: int
    base_url: str
    sent: int = 0
    keep_alive: bool = False

    async def raw(self, data: bytes) -> None:
        self.sent += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, kind: str = "application/json", *extra: str) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"content-type: {kind}", *extra]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def reply(self, status: int, body: bytes, *extra: str, kind: str = "application/json") -> None:
        """Answer with a whole body and keep the connection."""
        await self.head(status, kind, f"content-length: {len(body)}", *extra)
        await self.raw(body)
        self.keep_alive = True

    async def start(self, *extra: str) -> None:
        """Begin a healthy chunked answer."""
        kind = self.wire.content_type if self.streaming else "application/json"
        await self.head(200, kind, "transfer-encoding: chunked", *extra)

    async def start_until_close(self, *extra: str) -> None:
        """Begin a stream whose end is the end of the connection."""
        await self.head(200, self.wire.content_type, "connection: close", *extra)

    async def chunk(self, data: bytes) -> None:
        if data:
            await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def finish(self) -> None:
        await self.raw(b"0\r\n\r\n")
        self.keep_alive = True

    async def begin_answer(self) -> None:
        """Send the head, the first tokens, and wait until they must have passed."""
        await self.start()
        await self.chunk(self.wire.lead())
        await self.chunk(self.wire.token(ANSWER[0]))
        await self.chunk(self.wire.token(ANSWER[1]))
        await asyncio.sleep(PAUSE)

    def full_answer(self, *texts: str) -> bytes:
        parts = [self.wire.lead(), *(self.wire.token(text) for text in texts or ANSWER)]
        return b"".join([*parts, self.wire.last(counts=usage()), self.wire.end()])

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
