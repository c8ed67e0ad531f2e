"""Gateways with short timers in front of an upstream that misbehaves."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from tests.fakes.fault_rig import SHORT_TIMERS, Rig, StartGateway, mistral, ollama
from tests.fakes.fault_upstream import FaultUpstream
from tests.fixtures.gateway import Gateway, run_gateway


@pytest.fixture(scope="module")
def fault_upstream() -> Iterator[FaultUpstream]:
    """One misbehaving upstream for all tests of a module."""
    with FaultUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def mistral_process(tmp_path_factory: pytest.TempPathFactory, fault_upstream: FaultUpstream) -> Iterator[Gateway]:
    """A gateway that knows the upstream as Mistral."""
    env = SHORT_TIMERS | mistral(fault_upstream.url)
    with run_gateway(tmp_path_factory.mktemp("mistral"), env) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def ollama_process(tmp_path_factory: pytest.TempPathFactory, fault_upstream: FaultUpstream) -> Iterator[Gateway]:
    """A gateway that knows the upstream as an Ollama server."""
    env = SHORT_TIMERS | ollama(fault_upstream.url)
    with run_gateway(tmp_path_factory.mktemp("ollama"), env) as gateway:
        yield gateway


@pytest.fixture
async def mistral_rig(mistral_process: Gateway, fault_upstream: FaultUpstream) -> AsyncIterator[Rig]:
    """The Mistral side, warm before the test and checked for health after it."""
    rig = Rig.from_now(mistral_process, fault_upstream)
    await rig.assert_healthy()
    fault_upstream.forget()
    yield rig
    await rig.assert_healthy()


@pytest.fixture
async def ollama_rig(ollama_process: Gateway, fault_upstream: FaultUpstream) -> AsyncIterator[Rig]:
    """The Ollama side, warm before the test and checked for health after it."""
    rig = Rig.from_now(ollama_process, fault_upstream)
    await rig.assert_healthy()
    fault_upstream.forget()
    yield rig
    await rig.assert_healthy()


@pytest.fixture(params=["mistral", "ollama"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Either side in turn: promises that do not depend on the upstream's wire format."""
    chosen = request.getfixturevalue(f"{request.param}_rig")
    assert isinstance(chosen, Rig)
    return chosen


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways of a test's own; they stop when it ends."""
    with contextlib.ExitStack() as stack:

        def start(env: Mapping[str, str]) -> Gateway:
            return stack.enter_context(run_gateway(tmp_path, SHORT_TIMERS | dict(env)))

        yield start
