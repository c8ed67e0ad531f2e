"""`passerelle ingest`: adds what it is given, whatever waits already."""

import asyncio
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backend.cli.ingest import _Reading
from backend.core.errors import RateLimited
from backend.features.audit.service import Caller
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.uploads import ReceivedFile

DOCUMENT = SimpleNamespace(id=uuid.UUID(int=1))


class Full:
    """A queue that is full until somebody works on it; stands in for intake and dispatcher."""

    def __init__(self) -> None:
        self.is_worked_on = False

    def start(self) -> None:
        self.is_worked_on = True

    async def add(self, _caller: Caller, _place: Entity, _file: ReceivedFile) -> Any:
        if not self.is_worked_on:
            raise RateLimited("200 documents are waiting already", retry_after=30.0)
        return SimpleNamespace(view=SimpleNamespace(document=DOCUMENT))


async def test_what_a_run_that_was_broken_off_left_is_read_first(tmp_path: Path) -> None:
    full, path = Full(), tmp_path / "note.txt"
    path.write_text("some words")
    knowledge = SimpleNamespace(
        intake=full, dispatcher=full, scratch=tmp_path, document_bytes=1_000, reads_images=False
    )
    container: Any = SimpleNamespace(knowledge=knowledge, vectors=SimpleNamespace(is_ours=lambda: True))
    reading = _Reading(container, Entity(EntityKind.COLLECTION, uuid.UUID(int=2)))
    async with asyncio.timeout(10):
        await reading.add(path)
    assert (reading.waiting, reading.refused) == ({DOCUMENT.id: path}, [])
