"""Watching documents: told as it happens, by no more than the store can be asked for."""

import contextlib
import uuid

import pytest

from backend.core.errors import Overloaded
from backend.features.knowledge.progress import Progress
from backend.features.knowledge.states import State

DOCUMENT = uuid.UUID(int=1)


def test_those_who_watch_are_told_and_nobody_else() -> None:
    progress, state = Progress(), State("running", "uploaded", 5, 1)
    with progress.watching(DOCUMENT) as one, progress.watching(uuid.UUID(int=2)) as other:
        progress.tell(DOCUMENT, state)
        assert (one.get_nowait(), other.empty()) == (state, True)
    progress.tell(DOCUMENT, state)
    assert one.empty()


@pytest.mark.parametrize(("documents", "each"), [(1, 20), (50, 20)])
def test_so_many_watch_and_no_more_until_one_leaves(documents: int, each: int) -> None:
    progress = Progress()
    asked = DOCUMENT if documents == 1 else uuid.UUID(int=1_000)
    with contextlib.ExitStack() as stack:
        for number in range(documents * each - 1):
            progress.require_room(uuid.UUID(int=1 + number // each))
            stack.enter_context(progress.watching(uuid.UUID(int=1 + number // each)))
        with progress.watching(uuid.UUID(int=documents)), pytest.raises(Overloaded):
            progress.require_room(asked)
        progress.require_room(asked)
