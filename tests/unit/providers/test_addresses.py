"""Each provider asks the addresses its upstream documents, and shows its key nowhere else."""

from collections.abc import Sequence

import httpx
import pytest
import respx

from backend.llm.ports import Completer, Embedder, ModelLister
from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest, Message, TextPart
from backend.providers.http import Endpoint, Limits, Upstream
from backend.providers.mistral import MistralHabits, MistralProvider
from backend.providers.ollama import OllamaProvider
from backend.providers.openai_compatible import ModelFacts, OpenAICompatibleProvider
from backend.providers.watchdog import Timeouts
from backend.wire.openai.options import Dialect

BASE = "http://upstream.test"
KEY = "canary-key"
SSE = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
LINES = b'{"message":{"content":"a"},"response":"a","done":true,"done_reason":"stop"}\n'
Provider = MistralProvider | OpenAICompatibleProvider | OllamaProvider


def provider_of(kind: str, router: respx.MockRouter) -> Provider:
    endpoint = Endpoint(BASE, KEY, httpx.MockTransport(router.async_handler))
    upstream = Upstream(kind, endpoint, Timeouts(), Limits())
    if kind == "mistral":
        return MistralProvider(upstream, MistralHabits(), list_timeout=1)
    if kind == "ollama":
        return OllamaProvider(upstream, list_timeout=1)
    return OpenAICompatibleProvider(upstream, Dialect(kind), ModelFacts(), list_timeout=1)


def answer(router: respx.MockRouter, kind: str) -> None:
    stream, content_type = (LINES, "application/x-ndjson") if kind == "ollama" else (SSE, "text/event-stream")
    listed = {"models": []} if kind == "ollama" else {"data": []}
    vectors = {"embeddings": [[1.0]]} if kind == "ollama" else {"data": [{"embedding": [1.0], "index": 0}]}
    router.get(path__regex="/(v1/models|api/tags)").respond(json=listed)
    router.post(path__regex="/(v1/embeddings|api/embed)").respond(json=vectors)
    router.post().respond(content=stream, content_type=content_type)


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("mistral", ["/v1/models", "/v1/chat/completions", "/v1/fim/completions", "/v1/embeddings"]),
        ("vllm", ["/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings"]),
        ("generic", ["/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings"]),
        ("ollama", ["/api/tags", "/api/chat", "/api/generate", "/api/embed"]),
    ],
)
async def test_the_documented_addresses_are_asked_with_our_key(kind: str, paths: Sequence[str]) -> None:
    router = respx.MockRouter(assert_all_called=False)
    answer(router, kind)
    provider = provider_of(kind, router)
    assert isinstance(provider, ModelLister)
    await provider.list_models()
    await (await provider.open_chat(ChatRequest("m", (Message("user", (TextPart("q"),)),)))).aclose()
    assert isinstance(provider, Completer)
    await (await provider.open_completion(CompletionRequest("codestral", "a", "b"))).aclose()
    assert isinstance(provider, Embedder)
    await provider.embed(EmbedRequest("m", ("t",)))
    assert [call.request.url.path for call in router.calls] == list(paths)
    for call in router.calls:
        assert call.request.url.host == "upstream.test"
        assert call.request.headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in str(call.request.url)
        assert KEY.encode() not in (call.request.content or b"")
