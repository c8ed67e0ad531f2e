"""Gateways as clients meet them: real processes in front of scripted upstreams."""

import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
import pytest_socket

from tests.clients import scripts
from tests.clients.libraries import OFFLINE, Call, JavaScript, LiteLLM, LlamaIndex
from tests.clients.served import CLIENT_SECONDS, KEY, Served
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.gateway import run_gateway
from tests.fixtures.team_gateway import team_gateway

__all__ = ["team_gateway"]

LOOPBACK = ["127.0.0.1", "::1", "localhost"]


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let clients reach this machine alone, and fail when one tried another, even if it took the refusal quietly."""
    tried: list[object] = []
    look_up = socket.getaddrinfo

    def look_up_here(host: Any, *arguments: Any, **named: Any) -> Any:
        if host not in LOOPBACK:
            tried.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "client tests reach this machine alone")
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    pytest_socket.socket_allow_hosts(LOOPBACK, allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
    assert tried == []


@contextlib.contextmanager
def _mistral(folder: Path, **more: str) -> Iterator[Served]:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = scripts.mistral_models()
        env = {"MISTRAL_API_KEY": "test-key", "MISTRAL_BASE_URL": upstream.url}
        with run_gateway(folder, env | more) as gateway:
            yield Served(gateway, upstream)


@pytest.fixture(scope="session")
def mistral_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with _mistral(tmp_path_factory.mktemp("mistral")) as served:
        yield served


@pytest.fixture(scope="session")
def vllm_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = scripts.vllm_models()
        with run_gateway(tmp_path_factory.mktemp("vllm"), {"VLLM_BASE_URLS": upstream.url}) as gateway:
            yield Served(gateway, upstream)


@pytest.fixture(scope="session")
def ollama_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /api/tags"] = scripts.ollama_tags()
        upstream.defaults["POST /api/show"] = scripts.ollama_show()
        with run_gateway(tmp_path_factory.mktemp("ollama"), {"OLLAMA_BASE_URLS": upstream.url}) as gateway:
            yield Served(gateway, upstream)


@pytest.fixture
def mistral(mistral_process: Served) -> Served:
    """Mistral behind the gateway, with no scripts and no recorded requests."""
    mistral_process.upstream.reset()
    return mistral_process


@pytest.fixture
def vllm(vllm_process: Served) -> Served:
    """A vLLM server behind the gateway."""
    vllm_process.upstream.reset()
    return vllm_process


@pytest.fixture
def ollama_server(ollama_process: Served) -> Served:
    """A real Ollama server behind the gateway."""
    ollama_process.upstream.reset()
    return ollama_process


@pytest.fixture(scope="session")
def failing_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with _mistral(tmp_path_factory.mktemp("failing"), GATEWAY_BREAKER__FAILURES="1000000") as served:
        yield served


@pytest.fixture
def failing_mistral(failing_process: Served) -> Served:
    """Mistral behind a gateway without a circuit breaker, so that failures leave nothing behind for other tests."""
    failing_process.upstream.reset()
    return failing_process


@pytest.fixture
def fresh_mistral(tmp_path: Path) -> Iterator[Served]:
    """Mistral behind a gateway that has just started and knows nothing of it yet."""
    with _mistral(tmp_path) as served:
        yield served


@pytest.fixture(scope="session")
def keyed_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with _mistral(tmp_path_factory.mktemp("keyed"), GATEWAY_AUTH="keys", GATEWAY_API_KEYS=KEY) as served:
        yield served


@pytest.fixture
def keyed(keyed_process: Served) -> Served:
    """A gateway that wants a key, and whose Mistral greets and embeds."""
    keyed_process.upstream.reset()
    keyed_process.upstream.script(scripts.CHAT, [scripts.answer("Bonjour")])
    keyed_process.upstream.script(scripts.EMBEDDINGS, [scripts.embeddings([0.6, 0.8])])
    return keyed_process


@pytest.fixture
def client(mistral: Served) -> Iterator[ollama.Client]:
    with ollama.Client(mistral.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


@pytest.fixture
async def async_client(mistral: Served) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(mistral.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


@pytest.fixture(scope="session")
def index() -> LlamaIndex:
    return LlamaIndex()


@pytest.fixture(scope="session")
def litellm() -> Iterator[LiteLLM]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        yield LiteLLM()


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> JavaScript:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed, so the JavaScript SDK is not tested here")
    return JavaScript(tmp_path_factory.mktemp("javascript"))


@pytest.fixture
def call(javascript: JavaScript) -> Call:
    return javascript.call
