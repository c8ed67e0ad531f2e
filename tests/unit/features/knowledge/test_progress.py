"""Watching documents: told as it happens, by no more than the store can be asked for."""

import contextlib
import uuid

import pytest

from backend.core.errors import Overloaded
from backend.features.knowledge.progress import Progress
from backend.features.knowledge.states import Stage, State, Status
from backend.features.live.bus import MemoryBus
from backend.features.live.events import Topic

DOCUMENT = uuid.UUID(int=1)


def test_those_who_watch_are_told_and_nobody_else() -> None:
    progress, state = Progress(), State("running", "uploaded", 5, 1)
    with progress.watching(DOCUMENT) as one, progress.watching(uuid.UUID(int=2)) as other:
        progress.tell(DOCUMENT, state)
        assert (one.get_nowait(), other.empty()) == (state, True)
    progress.tell(DOCUMENT, state)
    assert one.empty()


async def test_who_listens_to_a_document_or_to_what_it_is_in_is_told_there() -> None:
    bus, collection, chat = MemoryBus(), uuid.UUID(int=3), uuid.UUID(int=4)
    progress, state = Progress(bus), State(Status.RUNNING, Stage.CHUNKED, 5, 1)
    feed = bus.open_feed()
    for topic in (Topic.document(DOCUMENT), Topic.collection(collection), Topic.chat(chat)):
        feed.watch(topic)
    progress.tell(DOCUMENT, state)
    progress.tell(DOCUMENT, state, collection_id=collection)
    progress.tell(DOCUMENT, state, chat_id=chat)
    progress.tell(uuid.UUID(int=2), state, collection_id=collection)
    told = [await anext(feed) for _ in range(6)]
    kinds = ["document", "document", "collection", "document", "chat", "collection"]
    assert [event.topic.kind for event in told] == kinds
    values = {"status": "running", "stage": "chunked", "progress": 5, "version": 1, "error": None}
    assert told[0].data == {"document_id": str(DOCUMENT), **values}
    assert [event.data["document_id"] for event in told] == [*[str(DOCUMENT)] * 5, str(uuid.UUID(int=2))]
    feed.close()


async def test_nobody_goes_on_listening_to_a_document_that_is_gone() -> None:
    bus = MemoryBus()
    async with bus.subscribe(Topic.document(DOCUMENT)) as events:
        Progress(bus).end(DOCUMENT)
        assert [event async for event in events] == []


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
