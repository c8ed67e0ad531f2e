"""Opens what vectors need: their rows, an index, the embedder, and the upkeep of all three."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from backend.adapters.vectors.chroma_child import ChromaChild
from backend.adapters.vectors.chroma_embedded import EmbeddedChroma
from backend.adapters.vectors.chroma_http import HttpChroma, ServerAt
from backend.adapters.vectors.exact import ExactVectors
from backend.adapters.vectors.folder_lock import FolderLock, check_folder
from backend.core.config import Settings
from backend.core.db.database import Database
from backend.core.errors import ConfigurationError
from backend.features.audit.service import AuditLog
from backend.features.catalog.service import CatalogService
from backend.features.generation.service import GenerationService
from backend.features.knowledge.dense import DenseSearch
from backend.features.knowledge.embedder_choice import EmbedderChoice
from backend.features.knowledge.embedders import EmbedderInUse, Embedders
from backend.features.knowledge.index_keeper import IndexKeeper
from backend.features.knowledge.indexing import VectorIndexer
from backend.features.knowledge.ports import TextEmbedder
from backend.features.knowledge.routed_index import RoutedIndex
from backend.features.knowledge.upkeep import Upkeep
from backend.features.knowledge.vector_administration import VectorAdministration
from backend.features.knowledge.vector_rows import VectorRows

_FOLDER = "chroma"
_UPKEEP = "upkeep"


@dataclass(frozen=True, slots=True)
class Vectors:
    """Everything about vectors that lives as long as the process."""

    rows: VectorRows
    index: RoutedIndex
    embedders: Embedders
    indexer: VectorIndexer
    keeper: IndexKeeper
    upkeep: Upkeep
    administration: VectorAdministration
    is_ours: Callable[[], bool]
    """Whether this process is the one on its folder that looks after vectors; takes the folder if nobody has it."""
    kind: str
    """Which kind of index is kept: embedded, server or exact."""

    def nearest(self) -> DenseSearch:
        """Return what searches by the vectors that are searched now."""

        def searched() -> TextEmbedder | None:
            used = self.searched()
            return None if used is None else used.embedder

        return DenseSearch(searched, self.index)

    def searched(self) -> EmbedderInUse | None:
        """Return the embedder whose vectors are searched now, or None."""
        return self.embedders.searched


def index_kind(settings: Settings) -> str:
    """Return which kind of index is kept; raise `ConfigurationError` for one that several processes cannot share."""
    wanted, workers = settings.knowledge.index, settings.server.workers
    if settings.chroma_url is not None:
        if wanted in {"auto", "server"}:
            return "server"
        raise ConfigurationError(
            f"CHROMA_URL is set, but GATEWAY_KNOWLEDGE__INDEX={wanted} uses no server: unset one of the two"
        )
    if wanted == "auto":
        return "embedded" if workers == 1 else "exact"
    if workers > 1 and wanted != "exact":
        raise ConfigurationError(
            f"{workers} workers cannot share GATEWAY_KNOWLEDGE__INDEX={wanted}: set CHROMA_URL to a Chroma server, or "
            "GATEWAY_KNOWLEDGE__INDEX=exact, or use one worker"
        )
    return wanted


def check_index(settings: Settings) -> None:
    """Raise `ConfigurationError` when the index cannot be opened as configured, or another process has it."""
    if index_kind(settings) != "exact" and settings.chroma_url is None:
        check_folder(settings.data_dir / _FOLDER)


@contextlib.asynccontextmanager
async def open_vectors(
    settings: Settings, database: Database, audit: AuditLog, catalog: CatalogService, generation: GenerationService
) -> AsyncIterator[Vectors]:
    """Yield what vectors need; nothing is loaded, locked or asked before there is something to embed or find."""
    rows = VectorRows(database)
    exact = ExactVectors(rows)
    kind = index_kind(settings)
    async with contextlib.AsyncExitStack() as stack:
        kept = _open_index(settings, kind, exact)
        stack.push_async_callback(kept.aclose)
        index = RoutedIndex(kept, exact)
        wanted = settings.knowledge
        choice = EmbedderChoice(catalog, wanted.embedder, wanted.embedding_model)
        embedders = Embedders(choice, catalog, generation, rows)
        indexer = VectorIndexer(rows, index, embedders)
        keeper = IndexKeeper(rows, index)
        lock = FolderLock(settings.data_dir / _UPKEEP)
        stack.callback(lock.release)
        is_ours = _first_to_come(lock)
        upkeep = Upkeep(rows, embedders, indexer, keeper, is_ours)
        stack.push_async_callback(upkeep.aclose)
        index.is_rebuilding, index.suspect, indexer.suspect = keeper.is_rebuilding, upkeep.suspect, upkeep.suspect
        administration = VectorAdministration(database, audit, embedders, kind, upkeep.rebuild)
        yield Vectors(rows, index, embedders, indexer, keeper, upkeep, administration, is_ours, kind)


def _open_index(settings: Settings, kind: str, exact: ExactVectors) -> ExactVectors | EmbeddedChroma | HttpChroma:
    folder = settings.data_dir / _FOLDER
    if settings.chroma_url is not None:
        return HttpChroma(ServerAt(settings.chroma_url))
    if kind == "server":
        return HttpChroma(ChromaChild(folder))
    return EmbeddedChroma(folder) if kind == "embedded" else exact


def _first_to_come(lock: FolderLock) -> Callable[[], bool]:
    """Return whether this is the one process of those on this folder that does the upkeep."""

    def is_ours() -> bool:
        try:
            lock.acquire()
        except ConfigurationError:
            return False
        return True

    return is_ours
