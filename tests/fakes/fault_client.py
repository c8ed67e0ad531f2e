"""A client close to the socket: it sees how a connection ends, and it can leave or dawdle at any moment."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Self

HOST = "127.0.0.1"
PATIENCE = 15.0  # no single wait lasts longer


class CutError(Exception):
    """The connection ended before the message did."""


@dataclass(frozen=True)
class Reply:
    """One answer; `complete` says whether its last chunk (or its whole length) arrived."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict), self.text
        return value

    @property
    def lines(self) -> list[dict[str, Any]]:
        assert self.body.endswith(b"\n"), self.body[-200:]
        return [json.loads(line) for line in self.body.split(b"\n") if line]

    @property
    def content(self) -> str:
        return "".join(line["message"]["content"] for line in self.lines if "message" in line)


@dataclass
class FaultClient:
    """One connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    _tail: bytes = b""

    @classmethod
    async def open(cls, port: int, buffer_bytes: int = 1 << 18) -> Self:
        """Connect; a small `buffer_bytes` makes the kernel hold back what nobody reads."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (HOST, port)), PATIENCE)
        return cls(*await asyncio.open_connection(sock=sock, limit=buffer_bytes))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def post(self, path: str, body: bytes, *headers: str) -> None:
        self.started = time.monotonic()
        lines = [f"POST {path} HTTP/1.1", f"host: {HOST}", "content-type: application/json"]
        lines += [f"content-length: {len(body)}", *headers]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    async def chat(self, model: str, **extra: Any) -> None:
        messages = [{"role": "user", "content": "hello"}]
        await self.post("/api/chat", json.dumps({"model": model, "messages": messages, **extra}).encode())

    async def head(self) -> int:
        """Read the status and the headers."""
        block = await self._within(self.reader.readuntil(b"\r\n\r\n"))
        first, *lines = block.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self.status = int(first.split(" ")[1])
        return self.status

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; the last one is empty."""
        size = int(await self._within(self.reader.readuntil(b"\r\n")), 16)
        return (await self._within(self.reader.readexactly(size + 2)))[:-2]

    async def line(self) -> dict[str, Any]:
        """Read one NDJSON line of a chunked body."""
        while b"\n" not in self._tail:
            piece = await self.chunk()
            if not piece:
                raise CutError("the answer ended inside a line")
            self._tail += piece
        line, _, self._tail = self._tail.partition(b"\n")
        value = json.loads(line)
        assert isinstance(value, dict)
        return value

    async def finish(self) -> Reply:
        """Read to the end, however it ends."""
        parts: list[bytes] = []
        complete = True
        deadline = time.monotonic() + PATIENCE
        try:
            await self.head()
            if "content-length" in self.headers:
                size = int(self.headers["content-length"])
                parts.append(await self._within(self.reader.readexactly(size)))
            else:
                while piece := await self.chunk():
                    parts.append(piece)
                    if time.monotonic() > deadline:
                        raise TimeoutError("the answer does not end")
        except CutError:
            complete = False
        return Reply(self.status, self.headers, b"".join(parts), complete, time.monotonic() - self.started)

    async def ended(self, within: float = PATIENCE) -> bool:
        """Tell whether the gateway ends the connection in time, dropping whatever it still sends."""
        deadline = time.monotonic() + within
        with contextlib.suppress(TimeoutError):
            try:
                while await asyncio.wait_for(self.reader.read(1 << 16), deadline - time.monotonic()):
                    pass
            except ConnectionError:
                pass
            return True
        return False

    async def leave(self, *, reset: bool = False) -> float:
        """Close the connection at once and return when."""
        if reset and not self.writer.is_closing():
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        at = time.monotonic()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
        return at

    async def _within(self, reading: Any) -> bytes:
        try:
            return bytes(await asyncio.wait_for(reading, PATIENCE))
        except (ConnectionError, asyncio.IncompleteReadError) as failure:
            raise CutError(str(failure)) from failure


async def ask(port: int, model: str, **extra: Any) -> Reply:
    """Send one chat request on a connection of its own and read the whole answer."""
    async with await FaultClient.open(port) as client:
        await client.chat(model, **extra)
        return await client.finish()
