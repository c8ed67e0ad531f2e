"""Builds the search of documents."""

from backend.core.db.database import Database
from backend.features.knowledge.dense import Nearest
from backend.features.knowledge.reranking import Reranker
from backend.features.knowledge.retrieval import Retrieval


def build_retrieval(database: Database, dense: Nearest | None = None, reranker: Reranker | None = None) -> Retrieval:
    """Return what searches documents: by words, and by vectors where there is something that makes them."""
    return Retrieval(database, dense, reranker)
