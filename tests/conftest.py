"""What all tests share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _set_aside_once() -> Iterator[None]:
    """Let only the first gateway of a test process set aside what is loaded.

    A process that serves starts one gateway, this one hundreds: each would keep for ever what the one before it left.
    """
    freeze, is_done = gc.freeze, False

    def freeze_once() -> None:
        nonlocal is_done
        if not is_done:
            freeze()
        is_done = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "freeze", freeze_once)
        yield
