"""Builds the search of documents."""

from collections.abc import Callable

from backend.core.config import Settings
from backend.core.config_retrieval import RetrievalSettings
from backend.core.db.database import Database
from backend.core.errors import ConfigurationError
from backend.features.knowledge.dense import Nearest
from backend.features.knowledge.reranking import Reranker
from backend.features.knowledge.retrieval import RERANK_SECONDS, Retrieval
from backend.providers.http import Limits, Upstream, open_endpoint
from backend.providers.rerank import HttpReranker
from backend.providers.watchdog import Timeouts


def build_retrieval(
    settings: Settings, database: Database, on_close: Callable[[Upstream], None], dense: Nearest | None = None
) -> Retrieval:
    """Return what searches documents: by words, and by vectors where there is something that makes them."""
    return Retrieval(database, dense, _open_reranker(settings.retrieval, settings, on_close))


def _open_reranker(
    wanted: RetrievalSettings, settings: Settings, on_close: Callable[[Upstream], None]
) -> Reranker | None:
    if wanted.reranker_url is None:
        return None
    if not wanted.reranker_model:
        raise ConfigurationError("GATEWAY_RETRIEVAL__RERANKER_URL needs GATEWAY_RETRIEVAL__RERANKER_MODEL; set both")
    endpoint = open_endpoint(
        wanted.reranker_url,
        api_key=None if wanted.reranker_key is None else wanted.reranker_key.get_secret_value(),
        ca_file=None if settings.tls.ca_file is None else str(settings.tls.ca_file),
    )
    timeouts = Timeouts(RERANK_SECONDS, RERANK_SECONDS, RERANK_SECONDS, RERANK_SECONDS)
    upstream = Upstream("reranker", endpoint, timeouts, Limits(), "GATEWAY_RETRIEVAL__RERANKER_KEY")
    on_close(upstream)
    return HttpReranker(upstream, wanted.reranker_model)
