"""Unit tests reach no network, keep nothing on disk, and none fails for being slow once."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_socket
from hypothesis import settings

from tests.fakes.clock import JumpingLoop

settings.register_profile("unit", database=None, deadline=None, max_examples=60)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """Let only the event loop's own socket pair be opened."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a gateway that is opened keep its things in the test's folder."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Let waits take no time and limits be kept exactly, however busy the machine is."""
    return {"jumping": JumpingLoop}
