"""Real Ollama machines: their answers pass through untouched when nothing is added, and their models are theirs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from backend.llm.capabilities import ModelInfo
from backend.llm.digests import BlobDigest
from backend.llm.errors import ModelWorkFailed, ProviderProtocolError, PullFailed
from backend.llm.events import token_count
from backend.llm.ports import EventStream, LineStream
from backend.llm.types import ChatRequest, CompletionRequest, Embeddings, EmbedRequest, WireSource
from backend.providers.http import BodyReader, Upstream
from backend.providers.streams import DecodedStream, TappedLines
from backend.wire.framing import LineSplitter
from backend.wire.jsontext import UNREADABLE
from backend.wire.nulls import without_nulls
from backend.wire.ollama.upstream import (
    EmbedReply,
    LineDecoder,
    LineTap,
    read_embed_reply,
    read_models,
    write_chat,
    write_completion,
    write_embed,
)
from backend.wire.openai.errors import clean

_LINES = "application/x-ndjson"
_OBJECT = "application/json"
_LINE_BYTES = 8_000_000
"""What Ollama's own client takes; `context` makes the last line of a generate reply long."""

_WORK_SECONDS = 24 * 3600.0
_WORK_IDLE_SECONDS = 900.0
"""Checking the digest of a large model is silent, and so is converting one."""


class OllamaProvider:
    """Speaks to an Ollama server; implements every provider port, `Passthrough` and `ModelServer` among them."""

    def __init__(self, upstream: Upstream, *, list_timeout: float) -> None:
        self._upstream = upstream
        self._list_timeout = list_timeout

    async def list_models(self) -> Sequence[ModelInfo]:
        """See `ModelLister.list_models`."""
        body = await self._upstream.get("/api/tags", timeout=self._list_timeout)
        return read_models(body, self._upstream.name)

    async def open_lines(self, source: WireSource) -> LineStream:
        """See `Passthrough.open_lines`; a reply that is not streamed may take as long as the whole answer."""
        is_stream = source.body.get("stream", True) is not False and _has_work(source)
        usual = self._upstream.timeouts
        reader = await self._upstream.open(
            source.path,
            source.body,
            _LINES if is_stream else _OBJECT,
            usual if is_stream else replace(usual, first_byte=usual.total),
        )
        return TappedLines(reader, LineTap(self._upstream.name, _LINE_BYTES))

    async def open_chat(self, request: ChatRequest) -> EventStream:
        """See `ChatProvider.open_chat`."""
        reader = await self._upstream.open("/api/chat", write_chat(request), _LINES)
        return DecodedStream(reader, LineDecoder(self._upstream.name, _LINE_BYTES))

    async def open_completion(self, request: CompletionRequest) -> EventStream:
        """See `Completer.open_completion`."""
        reader = await self._upstream.open("/api/generate", write_completion(request), _LINES)
        return DecodedStream(reader, LineDecoder(self._upstream.name, _LINE_BYTES))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See `Embedder.embed`; the caller's own body is sent on, with the options only Ollama knows."""
        source = request.source
        if source is None:
            reply = await self._embed("/api/embed", write_embed(request))
        else:
            reply = await self._embed(source.path, {**source.body, "model": request.model})
        vectors = reply.embeddings
        if source is not None and source.path == "/api/embeddings":
            vectors = [reply.embedding]
        if len(vectors) != len(request.inputs):
            raise ProviderProtocolError(
                f"backend {self._upstream.name!r} sent {len(vectors)} embeddings, not {len(request.inputs)}"
            )
        return Embeddings(vectors, token_count(reply.prompt_eval_count) or 0)

    async def show(self, model: str, *, verbose: bool) -> Mapping[str, Any]:
        """See `ModelServer.show`."""
        return self._object(await self._upstream.post("/api/show", {"model": model, "verbose": verbose}))

    async def running(self) -> Sequence[Mapping[str, Any]]:
        """See `ModelServer.running`."""
        reply = self._object(await self._upstream.get("/api/ps", timeout=self._list_timeout))
        models = reply.get("models")
        return [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []

    def pull(self, model: str) -> AsyncIterator[Mapping[str, Any]]:
        """See `ModelServer.pull`; never `insecure`."""
        return self._work("/api/pull", {"model": model}, PullFailed)

    def create(self, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """See `ModelServer.create`."""
        return self._work("/api/create", body, ModelWorkFailed)

    def push(self, model: str) -> AsyncIterator[Mapping[str, Any]]:
        """See `ModelServer.push`; never `insecure`."""
        return self._work("/api/push", {"model": model}, ModelWorkFailed)

    async def copy(self, source: str, destination: str) -> None:
        """See `ModelServer.copy`."""
        await self._upstream.post("/api/copy", {"source": source, "destination": destination})

    async def delete(self, model: str) -> None:
        """See `ModelServer.delete`."""
        await self._upstream.delete("/api/delete", {"model": model})

    async def has_blob(self, digest: BlobDigest) -> bool:
        """See `ModelServer.has_blob`."""
        return await self._upstream.exists(f"/api/blobs/{digest}")

    async def put_blob(self, digest: BlobDigest, pieces: AsyncIterator[bytes]) -> None:
        """See `ModelServer.put_blob`."""
        await self._upstream.upload(f"/api/blobs/{digest}", pieces)

    async def _work(
        self, path: str, body: Mapping[str, Any], failure: type[ModelWorkFailed]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Let the machine work on a model and yield its progress; a day at most, models are large."""
        patient = replace(self._upstream.timeouts, idle=_WORK_IDLE_SECONDS, total=_WORK_SECONDS)
        reader = await self._upstream.open(path, {**body, "stream": True}, _LINES, patient)
        lines = LineSplitter(_LINE_BYTES)
        reader.started()
        last: Mapping[str, Any] = {}
        try:
            while data := await reader.read():
                for line in filter(None, lines.feed(data)):
                    last = self._step(line, reader, failure)
                    yield last
            for line in lines.close():
                last = self._step(line, reader, failure)
                yield last
        finally:
            await reader.aclose()
        if last.get("status") != "success":
            raise failure(f"backend {self._upstream.name!r} ended its work on the model early; try again")

    def _step(self, line: bytes, reader: BodyReader, failure: type[ModelWorkFailed]) -> Mapping[str, Any]:
        progress = self._object(line)
        if isinstance(progress.get("error"), str):
            raise reader.cleaned(failure(clean(progress["error"])))
        return progress

    async def _embed(self, path: str, body: Mapping[str, Any]) -> EmbedReply:
        try:
            return read_embed_reply(await self._upstream.post(path, body))
        except UNREADABLE as error:
            raise ProviderProtocolError(f"backend {self._upstream.name!r} sent unreadable embeddings") from error

    def _object(self, body: bytes) -> Mapping[str, Any]:
        try:
            value = msgspec.json.decode(body)
        except UNREADABLE as error:
            raise ProviderProtocolError(f"backend {self._upstream.name!r} sent an unreadable reply") from error
        if not isinstance(value, dict):
            raise ProviderProtocolError(f"backend {self._upstream.name!r} sent an unreadable reply")
        return dict(without_nulls(value))


def _has_work(source: WireSource) -> bool:
    """Whether the request asks for an answer: load and unload calls are answered by one object even when streaming."""
    return bool(source.body.get("messages") or source.body.get("prompt"))
