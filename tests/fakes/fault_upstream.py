"""An upstream that misbehaves on request: it speaks Mistral's and Ollama's wire on one port.

The requested model's name picks the fault (`tests.fakes.fault_modes.FAULTS`). The server runs in a thread and
event loop of its own, so that synchronous and asynchronous tests use it alike, and records what it saw.
"""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from tests.fakes.fault_modes import FAULTS
from tests.fakes.fault_wires import Exchange, Ndjson, Sse, Wire, compact

HOST = "127.0.0.1"
START_SECONDS = 10.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HEAD_LIMIT = 1 << 20


@dataclass
class Seen:
    """One request as the upstream saw it; times are `time.monotonic()`."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)
    peer_closed_at: float | None = None
    ended_at: float | None = None
    sent: int = 0

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        return value if isinstance(value, dict) else {}

    @cached_property
    def model(self) -> str:
        """The fault asked for: the model's name without Ollama's default tag."""
        with contextlib.suppress(ValueError):
            name = self.json.get("model") or self.json.get("name") or ""
            return str(name).removesuffix(":latest")
        return ""


def _cards() -> bytes:
    able = {"completion_chat": True, "function_calling": True, "completion_fim": False, "vision": False}
    cards = [
        {"id": name, "object": "model", "created": 1795219200, "owned_by": "mistralai", "name": name}
        | {"capabilities": able, "max_context_length": 131072, "aliases": [], "type": "base"}
        for name in FAULTS
    ]
    return compact({"object": "list", "data": cards})


_DETAILS = {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "7B"}


def _tags() -> bytes:
    models = [
        {"name": f"{name}:latest", "model": f"{name}:latest", "modified_at": "2026-11-01T10:00:00Z"}
        | {"size": 4_000_000_000, "digest": f"{index:064x}", "details": _DETAILS}
        for index, name in enumerate(FAULTS, 1)
    ]
    return compact({"models": models})


def _show() -> bytes:
    info = {"general.architecture": "llama", "llama.context_length": 131072}
    return compact({"details": _DETAILS, "model_info": info, "capabilities": ["completion", "tools"]})


PAGES: dict[tuple[str, str], Callable[[], bytes]] = {
    ("GET", "/v1/models"): _cards,
    ("GET", "/api/tags"): _tags,
    ("POST", "/api/show"): _show,
    ("GET", "/api/ps"): lambda: compact({"models": []}),
    ("GET", "/api/version"): lambda: compact({"version": "0.12.0"}),
}
WIRES: dict[str, Callable[[str], Wire]] = {"/v1/chat/completions": Sse, "/api/chat": Ndjson}


class _Connection:
    """One connection from the gateway, requests one after the other."""

    def __init__(self, upstream: "FaultUpstream", streams: Streams) -> None:
        self.upstream = upstream
        self.reader, self.writer = streams
        self.early = b""

    async def serve(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            while await self._answer(await self._read()):
                pass

    async def _read(self) -> Seen:
        head = self.early + await self.reader.readuntil(b"\r\n\r\n")
        self.early = b""
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("transfer-encoding") == "chunked":
            body = await self._read_chunks()
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = first.split(" ", 2)
        return Seen(method, target.partition("?")[0], headers, body)

    async def _read_chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readuntil(b"\r\n")
        return b"".join(parts)

    async def _answer(self, seen: Seen) -> bool:
        """Answer one request; return whether the connection may carry another."""
        exchange = self._exchange(seen)
        page = PAGES.get((seen.method, seen.path))
        if page is not None:
            await exchange.reply(200, page())
            return True
        if seen.path not in WIRES:
            self.upstream.strays.append(seen)
            await exchange.reply(404, compact({"message": "no Route matched with those values"}))
            return True
        if seen.model not in FAULTS:
            status = 400 if seen.path == "/v1/chat/completions" else 404
            await exchange.reply(status, compact({"error": f"model '{seen.model}' not found"}))
            return True
        return await self._misbehave(seen, exchange)

    def _exchange(self, seen: Seen) -> Exchange:
        upstream = self.upstream
        wire: Wire = WIRES.get(seen.path, Sse)(seen.model)
        streams_unasked = seen.path == "/api/chat"
        streaming = bool(seen.body) and seen.json.get("stream", streams_unasked) is True
        attempt = upstream.count(seen.model) + 1
        return Exchange(wire, self.writer, streaming, attempt, upstream.url)

    async def _misbehave(self, seen: Seen, exchange: Exchange) -> bool:
        """Run the fault until it ends or the gateway hangs up, whichever is first."""
        self.upstream.begin(seen)
        behaviour = asyncio.ensure_future(FAULTS[seen.model](exchange))
        watch = asyncio.ensure_future(self.reader.read(1))
        try:
            await asyncio.wait({behaviour, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and not behaviour.done():
                self.early = watch.result()
                seen.peer_closed_at = time.monotonic()
                return False
            await behaviour
        except ConnectionError:
            seen.peer_closed_at = time.monotonic()
            return False
        finally:
            seen.sent = exchange.sent
            self.upstream.end(seen)
            await self._settle(behaviour, watch)
        return exchange.keep_alive

    async def _settle(self, *tasks: "asyncio.Future[Any]") -> None:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(results[1], bytes):
            self.early += results[1]


class FaultUpstream:
    """A running fault upstream; use as a context manager."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.tls = tls
        self.requests: list[Seen] = []
        self.strays: list[Seen] = []  # requests to paths no gateway has business with
        self.most_open = 0
        self._open = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fault-upstream", daemon=True)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_SECONDS) or self._failure:
            raise RuntimeError("the fault upstream did not start") from self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._thread.is_alive() and self._loop and self._stop:
            with contextlib.suppress(RuntimeError):  # the loop ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(START_SECONDS)

    def begin(self, seen: Seen) -> None:
        with self._lock:
            self.requests.append(seen)
            self._open += 1
            self.most_open = max(self.most_open, self._open)

    def end(self, seen: Seen) -> None:
        with self._lock:
            seen.ended_at = time.monotonic()
            self._open -= 1

    def of(self, model: str) -> list[Seen]:
        """Return the chat requests for one model, oldest first."""
        with self._lock:
            return [seen for seen in self.requests if seen.model == model]

    def count(self, model: str) -> int:
        return len(self.of(model))

    def open_streams(self) -> int:
        with self._lock:
            return self._open

    def forget(self) -> None:
        """Drop the record, for tests that count from here on."""
        with self._lock:
            self.requests.clear()
            self.strays.clear()
            self.most_open = self._open

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits in __enter__
            self._failure = failure
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(
            self._connected, HOST, self.port, limit=HEAD_LIMIT, backlog=1024, ssl=self.tls
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = [task for task in self._tasks if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await _Connection(self, (reader, writer)).serve()
        except asyncio.CancelledError:
            writer.transport.abort()  # only close() cancels, and it waits for this task
        finally:
            self._tasks.discard(task)
            writer.close()
