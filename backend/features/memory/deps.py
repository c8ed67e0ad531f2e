"""Hands the routes their services."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request

from backend.features.auth.principal import Principal
from backend.features.memory.learning import Learner
from backend.features.memory.recall import FindEmbedder, Recall
from backend.features.memory.recorder import MemoryRecorder
from backend.features.memory.schemas import MemoryExport
from backend.features.memory.service import MemoryService
from backend.features.memory.upkeep import MemoryUpkeep


@dataclass(frozen=True, slots=True)
class Memories:
    """What memory is made of."""

    service: MemoryService
    recall: Recall
    learner: Learner
    upkeep: MemoryUpkeep
    recorders: Sequence[MemoryRecorder]
    """None where nothing is kept, else one."""

    def use_vectors(self, find_embedder: FindEmbedder, may_make: Callable[[], bool]) -> None:
        """Compare vectors too, from now on, and make them where `may_make` says that this process does."""
        self.recall.use_vectors(find_embedder)
        self.upkeep.use_vectors(find_embedder, may_make)

    def start(self) -> None:
        """Begin to learn and to look after everything."""
        self.learner.start()
        self.upkeep.start()


async def export_lines(service: MemoryService, principal: Principal) -> AsyncIterator[bytes]:
    """Yield the caller's memories as lines of JSON, some at a time."""
    async for memories in service.export(principal):
        told = (MemoryExport.model_validate(memory).model_dump_json() + "\n" for memory in memories)
        yield "".join(told).encode()


def memory_of(request: Request) -> MemoryService:
    """Return the service of memories."""
    memories: Memories = request.state.container.memories
    return memories.service
