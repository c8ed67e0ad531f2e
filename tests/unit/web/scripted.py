"""An ASGI server and an answer, both scripted."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

from starlette.requests import Request
from starlette.types import Message, Scope

from backend.core.errors import GatewayError

LIMIT = 100


class Client:
    """What a server knows of one client: the messages it sends, and what was written to it."""

    def __init__(self, *chunks: bytes, more: bool = False) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.write: Callable[[Message], Any] | None = None
        """When set, called (and awaited, if it returns something) before each write."""
        self._chunks: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": more or i < len(chunks) - 1}
            for i, chunk in enumerate(chunks or (b"",))
        ]

    async def receive(self) -> Message:
        if self._chunks:
            return self._chunks.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.write is not None and (waiting := self.write(message)) is not None:
            await waiting
        self.sent.append(message)

    def leave(self) -> None:
        self.gone.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def status(self) -> int | None:
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), None)

    @property
    def headers(self) -> dict[str, str]:
        start = next(message for message in self.sent if message["type"] == "http.response.start")
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def is_complete(self) -> bool:
        """Whether the last chunk was sent."""
        last = self.sent[-1] if self.sent else {}
        return last.get("type") == "http.response.body" and not last.get("more_body", False)

    def request(self, **headers: str) -> Request:
        return Request(scope_of(**headers), self.receive)


def scope_of(method: str = "POST", path: str = "/x", **headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b"", "extensions": {}}


class ScriptedAnswer:
    """Implements `Answer`: pieces, errors, or an event to wait for."""

    def __init__(self, *steps: bytes | BaseException | asyncio.Event, is_streamed: bool = True) -> None:
        self.finished = False
        self.content_type = "application/x-ndjson"
        self.is_streamed = is_streamed
        self.closes = 0
        self._steps: list[bytes | BaseException | asyncio.Event] = list(steps)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            self.finished = not self._steps
            return step
        raise StopAsyncIteration

    def encode_error(self, error: GatewayError) -> bytes:
        return f"error: {error.message}\n".encode()

    async def aclose(self) -> None:
        self.closes += 1
