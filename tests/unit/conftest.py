"""Unit tests reach no network, keep nothing on disk, and no example fails for being slow once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket
from hypothesis import settings

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
