"""Providers whose every answer a test has written, and an upstream that needs no socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NoReturn, Self, TypeVar

import httpx

from backend.features.catalog.backends import Backend, CircuitBreaker
from backend.features.catalog.service import Candidate, CatalogModel
from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.digests import BlobDigest
from backend.llm.errors import ModelNotFound
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, Usage
from backend.llm.names import listable_name
from backend.llm.types import ChatRequest, CompletionRequest, Embeddings, EmbedRequest, WireSource
from backend.providers.http import Endpoint, Limits, Upstream
from backend.providers.watchdog import Timeouts


class Pause(Enum):
    """A step that never ends."""

    HANG = "hang"


HANG = Pause.HANG
Step = Sequence[ChatEvent] | BaseException | Pause
Script = BaseException | Pause | Sequence[Step]
"""One answer: what happens instead of opening it, or its steps once it is open."""

HELLO: Sequence[Step] = ([Started("r")], [TextDelta("hel")], [TextDelta("lo"), Finished("stop", Usage(7, 2))])


async def hang() -> NoReturn:
    """Wait until cancelled."""
    await asyncio.Event().wait()
    raise RuntimeError("nobody sets this event")


class ScriptedStream:
    """An open answer; implements `EventStream` and counts how often it was closed."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.closes = 0
        self._steps = iter(steps)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[ChatEvent]:
        step = next(self._steps, None)
        if step is None:
            raise StopAsyncIteration
        if isinstance(step, Pause):
            await hang()
        if isinstance(step, BaseException):
            raise step
        await asyncio.sleep(0)
        return step

    async def aclose(self) -> None:
        self.closes += 1


class ScriptedProvider:
    """Implements `ChatProvider`, `Completer`, `Embedder` and `ModelLister` from scripts; the last script repeats."""

    def __init__(self, *answers: Script, models: Sequence[ModelInfo] = ()) -> None:
        self.answers = list(answers) or [HELLO]
        self.models: Sequence[ModelInfo] | BaseException | Pause = models
        self.vectors: Sequence[Sequence[float]] | BaseException | Pause | None = None
        self.requests: list[ChatRequest | CompletionRequest | EmbedRequest] = []
        self.streams: list[ScriptedStream] = []
        self.listings = 0
        self.gate: asyncio.Event | None = None
        """When set, model lists wait for it."""

    async def list_models(self) -> Sequence[ModelInfo]:
        self.listings += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.models, Pause):
            await hang()
        if isinstance(self.models, BaseException):
            raise self.models
        return self.models

    async def open_chat(self, request: ChatRequest) -> ScriptedStream:
        return await self._open(request)

    async def open_completion(self, request: CompletionRequest) -> ScriptedStream:
        return await self._open(request)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.requests.append(request)
        if isinstance(self.vectors, Pause):
            await hang()
        if isinstance(self.vectors, BaseException):
            raise self.vectors
        given = self.vectors if isinstance(self.vectors, Sequence) else None
        return Embeddings(given or [[3.0, 4.0] for _ in request.inputs], 5)

    async def _open(self, request: ChatRequest | CompletionRequest) -> ScriptedStream:
        self.requests.append(request)
        script = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await asyncio.sleep(0)
        if isinstance(script, Pause):
            await hang()
        if isinstance(script, BaseException):
            raise script
        stream = ScriptedStream(script)
        self.streams.append(stream)
        return stream


class ListOnly:
    """A provider that can do nothing but list models."""

    def __init__(self, *models: ModelInfo) -> None:
        self.models = models

    async def list_models(self) -> Sequence[ModelInfo]:
        return self.models


LineStep = bytes | BaseException | Pause


class ScriptedLines:
    """An open untouched answer; implements `LineStream`."""

    content_type = "application/x-ndjson"

    def __init__(self, steps: Sequence[LineStep]) -> None:
        self.closes = 0
        self._steps = iter(steps)
        self._last: Mapping[str, Any] = {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        step = next(self._steps, None)
        if step is None:
            raise StopAsyncIteration
        if isinstance(step, Pause):
            await hang()
        if isinstance(step, BaseException):
            raise step
        last = json.loads(step.rstrip(b"\n").rpartition(b"\n")[2])
        self._last = last if last.get("done") else {}
        return step

    @property
    def finished(self) -> bool:
        return bool(self._last)

    def last_line(self) -> Mapping[str, Any]:
        return self._last

    async def aclose(self) -> None:
        self.closes += 1


class ScriptedServer(ScriptedProvider):
    """An Ollama machine: everything a scripted provider is, and `Passthrough` and `ModelServer`."""

    def __init__(self, *answers: Script, models: Sequence[ModelInfo] = ()) -> None:
        super().__init__(*answers, models=models)
        self.lines: Sequence[LineStep] | BaseException = (b'{"done":true,"prompt_eval_count":7,"eval_count":2}\n',)
        self.sources: list[WireSource] = []
        self.line_streams: list[ScriptedLines] = []
        self.description: Mapping[str, Any] | BaseException = {"details": {}}
        self.loaded: Sequence[Mapping[str, Any]] | BaseException = ()
        self.pulled: list[str] = []
        self.progress: Sequence[Mapping[str, Any] | BaseException] = ({"status": "success"},)
        self.pulls_ended = 0
        self.created: list[Mapping[str, Any]] = []
        self.pushed: list[str] = []
        self.copied: list[tuple[str, str]] = []
        self.deleted: list[str] = []
        self.refusal: BaseException | None = None
        """When set, copy and delete fail with it."""
        self.blobs: dict[str, bytes] = {}
        """What was stored whole, by digest; nothing else about it is checked."""

    async def open_lines(self, source: WireSource) -> ScriptedLines:
        self.sources.append(source)
        if isinstance(self.lines, BaseException):
            raise self.lines
        stream = ScriptedLines(self.lines)
        self.line_streams.append(stream)
        return stream

    async def show(self, model: str, *, verbose: bool) -> Mapping[str, Any]:
        if isinstance(self.description, BaseException):
            raise self.description
        return {**self.description, "asked": model, "verbose": verbose}

    async def running(self) -> Sequence[Mapping[str, Any]]:
        if isinstance(self.loaded, BaseException):
            raise self.loaded
        return self.loaded

    def pull(self, model: str) -> AsyncIterator[Mapping[str, Any]]:
        self.pulled.append(model)
        return self._steps()

    def create(self, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        self.created.append(body)
        return self._steps()

    def push(self, model: str) -> AsyncIterator[Mapping[str, Any]]:
        self.pushed.append(model)
        return self._steps()

    async def copy(self, source: str, destination: str) -> None:
        self._check(source)
        self.copied.append((source, destination))

    async def delete(self, model: str) -> None:
        self._check(model)
        self.deleted.append(model)

    async def has_blob(self, digest: BlobDigest) -> bool:
        return str(digest) in self.blobs

    async def put_blob(self, digest: BlobDigest, pieces: AsyncIterator[bytes]) -> None:
        self.blobs[str(digest)] = b"".join([piece async for piece in pieces])

    def _check(self, model: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        if isinstance(self.models, Sequence) and model not in [known.model_id for known in self.models]:
            raise ModelNotFound("model not found")

    async def _steps(self) -> AsyncIterator[Mapping[str, Any]]:
        try:
            for step in self.progress:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.pulls_ended += 1


def info(model_id: str = "m", *capabilities: Capability, is_listed: bool = True, **facts: Any) -> ModelInfo:
    """Return a listed model; without capabilities nothing is known about it."""
    return ModelInfo(model_id, frozenset(capabilities), is_listed=is_listed, **facts)


def backend_of(
    provider: Any,
    name: str = "up",
    kind: str = "generic",
    *,
    failures: int = 3,
    clock: Callable[[], float] = lambda: 0.0,
) -> Backend:
    """Return a configured upstream around a fake provider."""
    return Backend(name, kind, provider, CircuitBreaker(name, failures, 10.0, clock))


def model_of(*backends: Backend, known: ModelInfo | None = None) -> CatalogModel:
    """Return one model that all these backends serve."""
    known = known or info()
    return CatalogModel(listable_name(known.model_id), tuple(Candidate(b, known) for b in backends))


Piece = bytes | BaseException | Pause
Told = TypeVar("Told")
Failure = TypeVar("Failure", bound=Exception)


class Body(httpx.AsyncByteStream):
    """A response body in the pieces the network would give, and whether it was closed."""

    def __init__(self, *pieces: Piece, pause: float = 0.0) -> None:
        self.closes = 0
        self._pieces = pieces
        self._pause = pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Pause):
                await hang()
            elif isinstance(piece, BaseException):
                raise piece
            else:
                await asyncio.sleep(self._pause)
                yield piece

    async def aclose(self) -> None:
        self.closes += 1


@dataclass(frozen=True)
class Answer:
    """What the upstream without a socket replies."""

    body: Body | bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    """The decoded JSON, the bytes of what is none, or None."""


Responder = Callable[[Asked], Answer | BaseException | Pause]


class MockUpstream:
    """An `Upstream` over a transport without sockets; `respond` answers, `asked` remembers."""

    def __init__(
        self,
        respond: Responder | Answer | BaseException | Pause,
        *,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.respond: Responder = respond if callable(respond) else lambda _asked: respond
        self.asked: list[Asked] = []
        self.bodies: list[Body] = []
        self.transport = httpx.MockTransport(self._handle)
        endpoint = Endpoint("http://upstream.test", "up-key", self.transport)
        self.upstream = Upstream("up", endpoint, timeouts or Timeouts(), limits or Limits(), "UP_KEY")

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        asked = Asked(request.method, request.url.path, dict(request.headers), _decoded(content))
        self.asked.append(asked)
        answer = self.respond(asked)
        if isinstance(answer, Pause):
            await hang()
        if isinstance(answer, BaseException):
            raise answer
        body = answer.body if isinstance(answer.body, Body) else Body(answer.body)
        self.bodies.append(body)
        headers = {"content-type": answer.content_type, **answer.headers}
        return httpx.Response(answer.status, headers=headers, stream=body)


def _decoded(content: bytes) -> Any:
    """Return the JSON of a body, or its bytes when it is none."""
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content


async def collect(stream: AsyncIterator[Sequence[ChatEvent]]) -> list[ChatEvent]:
    """Return all events of an answer, in one list."""
    return [event async for batch in stream for event in batch]


async def until_error(stream: AsyncIterator[Told], kind: type[Failure]) -> tuple[list[Told], Failure]:
    """Return what an answer gave before it failed, and how it failed."""
    told: list[Told] = []
    try:
        async for piece in stream:
            told.append(piece)  # noqa: PERF401 (what came before the error counts)
    except kind as error:
        return told, error
    raise AssertionError("the answer ended without an error")


async def drain(answer: AsyncIterator[bytes]) -> bytes:
    """Return all bytes of an answer."""
    return b"".join([piece async for piece in answer])


async def settle_loop(rounds: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(rounds):
        await asyncio.sleep(0)
