"""Unit tests reach no network, keep nothing on disk, and no example fails for being slow once."""

from collections.abc import Iterator

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
