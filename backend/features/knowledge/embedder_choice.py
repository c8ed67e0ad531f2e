"""Which embedder makes the vectors, and why: the settings' word, or what is there already. Never downloads anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.core.errors import GatewayError
from backend.features.auth.principal import Principal
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.features.knowledge.embedding_models import find_model, rank
from backend.llm.capabilities import Capability

EmbedderKind = Literal["auto", "none", "mistral", "ollama", "openai"]

KNOWLEDGE = Principal("knowledge")
"""Who asks for vectors: the gateway itself, which may use any model and change nothing."""
_OTHER_KINDS = frozenset({"mistral", "ollama", "demo"})
_ORDER: tuple[EmbedderKind, ...] = ("mistral", "ollama", "openai")
_MISSING = {
    "auto": "no backend offers an embedding model: set MISTRAL_API_KEY, pull one on an Ollama machine (bge-m3 reads "
    "many languages), or name one in GATEWAY_KNOWLEDGE__EMBEDDING_MODEL",
    "mistral": "GATEWAY_KNOWLEDGE__EMBEDDER=mistral needs MISTRAL_API_KEY and a backend that answers",
    "ollama": "no Ollama machine has a known embedding model: pull one (bge-m3 reads many languages), or name yours in "
    "GATEWAY_KNOWLEDGE__EMBEDDING_MODEL",
    "openai": "no OpenAI-compatible backend lists an embedding model: name yours in GATEWAY_KNOWLEDGE__EMBEDDING_MODEL",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that makes vectors, or None for keyword mode, and why."""

    model: CatalogModel | None
    reason: str
    is_awaited: bool = False
    """Whether there will be one again: what makes vectors does not answer just now."""

    @property
    def provider(self) -> str:
        """The kind of server; "" in keyword mode."""
        return "" if self.model is None else self.model.backend.kind

    @property
    def name(self) -> str:
        """What the upstream calls the model; "" in keyword mode."""
        return "" if self.model is None else self.model.info.model_id


class EmbedderChoice:
    """Chooses among the models the backends list.

    Args:
        wanted: the settings' word; auto takes a model in the order Mistral, Ollama, others, multilingual ones first.
        named: the model, where the settings name one.
    """

    def __init__(self, catalog: CatalogService, wanted: EmbedderKind, named: str = "") -> None:
        self._catalog = catalog
        self._wanted = wanted
        self._named = named

    @property
    def is_off(self) -> bool:
        """Whether nothing may be embedded at all."""
        return self._wanted == "none"

    async def choose(self, current: tuple[str, str] | None = None) -> Choice:
        """Return the choice as of now.

        Args:
            current: provider and model of the vectors there are. Auto stays with them while they are offered, so that
                a backend added or away for a minute does not have everything embedded again.
        """
        if self._wanted == "none":
            return Choice(None, "GATEWAY_KNOWLEDGE__EMBEDDER=none")
        try:
            models = [model for model in await self._catalog.models(KNOWLEDGE) if model.preset is None]
        except GatewayError as error:
            return Choice(None, error.message)
        if self._named:
            return await self._find_named()
        return self._choose_among(
            [model for model in models if self._is_wanted(model) and _is_embedder(model)], current
        )

    def _choose_among(self, offered: Sequence[CatalogModel], current: tuple[str, str] | None) -> Choice:
        if self._wanted == "auto" and current is not None:
            for model in offered:
                if (model.backend.kind, model.info.model_id) == current:
                    return Choice(model, "auto: it made the vectors there are")
            if away := self._away(current[0]):
                reason = f"auto: waits for backend {away!r}, which made the vectors there are"
                return Choice(None, reason, is_awaited=True)
        if not offered:
            return Choice(None, _MISSING[self._wanted])
        best = min(offered, key=_preference)
        return Choice(best, f"{self._wanted}: offered by backend {best.backend.name!r}")

    async def _find_named(self) -> Choice:
        try:
            model = await self._catalog.resolve(self._named, KNOWLEDGE)
        except GatewayError as error:
            return Choice(None, f"GATEWAY_KNOWLEDGE__EMBEDDING_MODEL: {error.message}")
        if not self._is_wanted(model):
            other = f"is served by {model.backend.kind!r}, not by {self._wanted}"
            return Choice(None, f"GATEWAY_KNOWLEDGE__EMBEDDING_MODEL {self._named!r} {other}")
        if not model.can(Capability.EMBEDDING) or model.backend.embedder is None:
            return Choice(None, f"GATEWAY_KNOWLEDGE__EMBEDDING_MODEL {self._named!r} makes no embeddings")
        return Choice(model, "named in GATEWAY_KNOWLEDGE__EMBEDDING_MODEL")

    def _away(self, kind: str) -> str:
        """Return a backend of this kind whose models are not known because it does not answer, or ""."""
        return next((b.name for b in self._catalog.backends if b.kind == kind and b.last_error), "")

    def _is_wanted(self, model: CatalogModel) -> bool:
        return self._wanted == "auto" or _kind(model) == self._wanted


def _kind(model: CatalogModel) -> EmbedderKind:
    kind = model.backend.kind
    if kind == "mistral":
        return "mistral"
    if kind == "ollama":
        return "ollama"
    return "none" if kind in _OTHER_KINDS else "openai"


def _is_embedder(model: CatalogModel) -> bool:
    """Whether a model may be taken without being named: known by name, and not said to do something else."""
    if model.backend.embedder is None or _kind(model) == "none":
        return False
    says = Capability.EMBEDDING in model.info.capabilities
    if _kind(model) == "mistral":
        return model.info.model_id == "mistral-embed"
    return model.can(Capability.EMBEDDING) and (says or find_model(model.info.model_id) is not None)


def _preference(model: CatalogModel) -> tuple[int, int, str]:
    place = rank(model.info.model_id)
    return _ORDER.index(_kind(model)), 10_000 if place is None else place, model.info.model_id
