"""An upstream whose every answer a test has written, and which remembers what it was asked."""

import asyncio
import contextlib
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
BLOBS = "/api/blobs/"
START_SECONDS = 5.0
MAX_HEAD_BYTES = 65_536


@dataclass(frozen=True)
class Piece:
    """Bytes of a body that are sent by themselves, after `delay` seconds."""

    data: bytes
    delay: float = 0.0


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    A `bytes` body is sent with a Content-Length, a sequence of pieces chunked and flushed one by one.
    `unary` is the JSON body for a request that asked for `"stream": false`. With `cut` the connection
    breaks before the last chunk.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Sequence[bytes | Piece] = b""
    unary: bytes | None = None
    cut: bool = False


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `body` is the parsed JSON, or None when there was none."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with one JSON value."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Reply(status, {"content-type": JSON, **(headers or {})}, body)


def sse_reply(body: bytes, *, unary: bytes | None = None, cut: bool = False, delay: float = 0.0) -> Reply:
    """Stream server-sent events, one chunk each, `delay` seconds apart."""
    return Reply(200, {"content-type": SSE}, _pieces(body, b"\n\n", delay), unary, cut)


def ndjson_reply(body: bytes, *, unary: bytes | None = None, cut: bool = False, delay: float = 0.0) -> Reply:
    """Stream JSON lines, one chunk each, `delay` seconds apart."""
    return Reply(200, {"content-type": NDJSON}, _pieces(body, b"\n", delay), unary, cut)


def _pieces(body: bytes, separator: bytes, delay: float) -> tuple[Piece, ...]:
    parts = body.split(separator)
    whole = [part + separator for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
    return tuple(Piece(part, delay) for part in whole)


class ScriptedUpstream:
    """An HTTP/1.1 server on a free loopback port, in its own thread, for the length of a `with` block.

    Replies are scripted per `"METHOD /path"`, used in order, and the last one repeats. `defaults` answer
    where nothing is scripted, files under `/api/blobs/` are checked and remembered by digest as Ollama does it;
    anything else is a 404. Every member may be used from any thread.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.begun: list[str] = []
        """`"METHOD /path"` of every request whose head arrived, whatever became of its body."""
        self.disconnects = 0
        self.blobs: dict[str, int] = {}
        """Sizes of the files that were uploaded whole, by digest."""
        self.defaults: dict[str, Reply] = {
            "GET /v1/models": json_reply({"object": "list", "data": []}),
            "GET /api/tags": json_reply({"models": []}),
            "GET /api/version": json_reply({"version": "0.13.5"}),
            "GET /api/ps": json_reply({"models": []}),
            "GET /health": json_reply({"status": "ok"}),
        }
        self._scripts: dict[str, list[Reply]] = {}
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="scripted-upstream", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise RuntimeError(f"the scripted upstream did not listen within {START_SECONDS} s")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_SECONDS)

    def script(self, method_path: str, replies: Iterable[Reply]) -> None:
        """Replace the queue of `"METHOD /path"`; the last reply repeats."""
        queue = list(replies)
        if not queue:
            raise ValueError(f"{method_path} needs at least one reply")
        with self._lock:
            self._scripts[method_path] = queue

    def reset(self) -> None:
        """Forget the scripts and the recorded requests, keep the defaults."""
        with self._lock:
            self._scripts.clear()
            self.requests.clear()
            self.begun.clear()
            self.blobs.clear()
            self.disconnects = 0

    def calls(self, method_path: str) -> list[Request]:
        """Return the recorded requests to `"METHOD /path"`, oldest first."""
        method, _, path = method_path.partition(" ")
        with self._lock:
            return [one for one in self.requests if (one.method, one.path) == (method, path)]

    def posts(self) -> list[Request]:
        """Return every recorded POST, oldest first."""
        with self._lock:
            return [one for one in self.requests if one.method == "POST"]

    def _reply_to(self, request: Request) -> Reply:
        key = f"{request.method} {request.path}"
        with self._lock:
            self.requests.append(request)
            queue = self._scripts.get(key)
            if queue:
                return queue.pop(0) if len(queue) > 1 else queue[0]
        if request.path.startswith(BLOBS):
            return self._blob(request)
        return self.defaults.get(key) or json_reply({"detail": "Not Found"}, 404)

    def _blob(self, request: Request) -> Reply:
        digest = request.path.removeprefix(BLOBS)
        with self._lock:
            if request.method == "HEAD":
                return Reply(200 if digest in self.blobs else 404)
            got = f"sha256:{hashlib.sha256(request.raw).hexdigest()}"
            if got != digest:
                return json_reply({"error": f'digest mismatch, expected "{digest}", got "{got}"'}, 400)
            self.blobs[digest] = len(request.raw)
            return Reply(201)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with _closing(writer):
                while (request := await _read_request(reader, self.begun.append)) is not None:
                    if not await self._answer(writer, request, self._reply_to(request)):
                        return
        except (ConnectionError, asyncio.IncompleteReadError):
            with self._lock:
                self.disconnects += 1
        except asyncio.CancelledError:
            return  # the server stops while this client is still connected

    async def _answer(self, writer: asyncio.StreamWriter, request: Request, reply: Reply) -> bool:
        """Send `reply`; false when the connection is not to be used again."""
        body = reply.body
        headers = dict(reply.headers)
        if reply.unary is not None and isinstance(request.body, dict) and request.body.get("stream") is False:
            body, headers["content-type"] = reply.unary, JSON
        pieces = [body] if isinstance(body, bytes) else list(body)
        whole = isinstance(body, bytes) and not reply.cut
        headers |= {"content-length": str(len(body))} if whole else {"transfer-encoding": "chunked"}
        writer.write(_head(reply.status, headers))
        for piece in pieces:
            await _send(writer, piece if isinstance(piece, Piece) else Piece(piece), chunked=not whole)
        if reply.cut:
            return False
        if not whole:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _send(writer: asyncio.StreamWriter, piece: Piece, *, chunked: bool) -> None:
    if piece.delay:
        await writer.drain()
        await asyncio.sleep(piece.delay)
    if piece.data:
        writer.write(f"{len(piece.data):x}\r\n".encode() + piece.data + b"\r\n" if chunked else piece.data)
        await writer.drain()


async def _read_request(reader: asyncio.StreamReader, begins: Callable[[str], None]) -> Request | None:
    """Read one request, or None when the client has closed the connection; `begins` is told of its head."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = dict(_header_fields(rest))
    path, _, query = target.partition("?")
    begins(f"{method} {path}")
    raw = await _read_body(reader, headers)
    return Request(method, path, query, headers, _parsed(raw), raw)


def _header_fields(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        yield name.strip().lower(), value.strip()


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(pieces)


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
