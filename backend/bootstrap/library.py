"""Opens what knows of documents: vectors, and what reads, keeps and removes them."""

import contextlib
from dataclasses import dataclass

from backend.bootstrap.ground import Ground
from backend.bootstrap.knowledge import open_knowledge
from backend.bootstrap.vectors import Vectors, open_vectors
from backend.core.config import Settings
from backend.features.catalog.service import CatalogService
from backend.features.generation.service import GenerationService
from backend.features.knowledge.deps import Knowledge
from backend.features.knowledge.ports import ChatReader
from backend.features.knowledge.retrieval import Retrieval
from backend.features.live.events import Readers


@dataclass(frozen=True, slots=True)
class Library:
    """See the module."""

    knowledge: Knowledge
    vectors: Vectors

    def readers(self, chats: ChatReader) -> Readers:
        """Return who knows what a socket may listen to."""
        return {"chat": chats, "document": self.knowledge.documents, "collection": self.knowledge.collections}


async def open_library(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    ground: Ground,
    chats: ChatReader,
    retrieval: Retrieval,
    catalog: CatalogService,
    generation: GenerationService,
) -> Library:
    """Return it, searched by vectors from now on; the stack closes it."""
    vectors = await stack.enter_async_context(
        open_vectors(settings, ground.database, ground.audit, catalog, generation)
    )
    retrieval.use_vectors(vectors.nearest())
    opened = open_knowledge(
        *(settings, ground.database, ground.audit),
        indexer=vectors.indexer,
        chats=chats,
        on_ready=vectors.upkeep.look,
        bus=ground.bus,
    )
    return Library(await stack.enter_async_context(opened), vectors)
