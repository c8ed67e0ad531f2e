"""Gateways as clients meet them: real processes in front of scripted upstreams."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import ollama
import pytest

from tests.clients import scripts
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.gateway import run_gateway
from tests.fixtures.team_gateway import team_gateway


@contextlib.contextmanager
def _mistral(folder: Path) -> Iterator[Served]:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = scripts.mistral_models()
        env = {"MISTRAL_API_KEY": "test-key", "MISTRAL_BASE_URL": upstream.url}
        with run_gateway(folder, env) as gateway:
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


@pytest.fixture
def failing_mistral(tmp_path: Path) -> Iterator[Served]:
    """Mistral behind a gateway of the test's own, so that failures leave nothing behind for other tests."""
    with _mistral(tmp_path) as served:
        served.upstream.reset()
        yield served


@pytest.fixture
def client(mistral: Served) -> Iterator[ollama.Client]:
    with ollama.Client(mistral.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


@pytest.fixture
async def async_client(mistral: Served) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(mistral.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


__all__ = ["team_gateway"]
