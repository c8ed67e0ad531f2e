"""The models of all backends under the names clients use."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.core.errors import InvalidRequest
from backend.core.logging import get_logger
from backend.features.auth.principal import Principal
from backend.features.catalog.backends import Backend
from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.errors import ModelNotFound, ProviderError
from backend.llm.names import ModelName, listable_name, parse_name

_log = get_logger(__name__)

_RETRY_SECONDS = 2.0
"""How long an unknown name is believed to be unknown before the backends are asked again."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend that has a model, and what it says about it."""

    backend: Backend
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One name clients see, with every backend that can serve it; the first one describes it."""

    name: ModelName
    candidates: tuple[Candidate, ...]

    @property
    def info(self) -> ModelInfo:
        """What is known about the model."""
        return self.candidates[0].info

    @property
    def backend(self) -> Backend:
        """The backend that describes the model."""
        return self.candidates[0].backend

    @property
    def serves_itself(self) -> bool:
        """Whether the model lives on an Ollama machine, which checks, loads and unloads by itself."""
        return self.backend.server is not None

    def can(self, capability: Capability) -> bool:
        """Whether the model has a capability; a model about which nothing is known can try everything."""
        return not self.info.capabilities or capability in self.info.capabilities


class CatalogService:
    """Keeps the model lists of all backends and finds models by name.

    Lists are asked for side by side. A backend that does not answer keeps its last known models: they then fail with
    the backend's error instead of vanishing. Of two backends of different kinds with the same name the first
    configured one counts; backends of one kind share the load.
    """

    def __init__(self, backends: Sequence[Backend], ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.backends = tuple(backends)
        self._ttl = ttl
        self._clock = clock
        self._lists: dict[str, Sequence[ModelInfo]] = {}
        self._models: dict[str, CatalogModel] = {}
        self._failures: dict[str, ProviderError] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def models(self, principal: Principal) -> Sequence[CatalogModel]:
        """Return all models the caller may use, in the order of the backends and of their lists."""
        if self._age() > self._ttl:
            await self.refresh()
        return tuple(model for model in self._models.values() if principal.may_use(model.name))

    async def resolve(self, name: str, principal: Principal) -> CatalogModel:
        """Return the model a client names, `latest` and case aside; the one way to a model for every wire format.

        Raises `InvalidRequest` for a name that cannot be one, `ModelNotFound` when no backend has it or the caller
        may not use it, and the backend's own error when the list of one could never be read.
        """
        parsed = parse_name(name)
        if parsed is None:
            raise InvalidRequest("invalid model name")
        model = self._models.get(parsed.key)
        if model is None and self._age() > min(self._ttl, _RETRY_SECONDS):
            await self.refresh()
            model = self._models.get(parsed.key)
        elif self._age() > self._ttl:
            self.start()  # known: serve it now, the list is read beside
        if not principal.may_use(parsed):
            raise ModelNotFound(f"model '{name}' not found")
        if model is None:
            raise self._unread() or ModelNotFound(f"model '{name}' not found")
        return model

    def forget(self) -> None:
        """Read the lists again at the next question; something was pulled or removed."""
        self._read_at = float("-inf")

    async def refresh(self) -> None:
        """Read all lists now; questions at the same time share one reading, and it outlives a caller who leaves."""
        await asyncio.shield(self.start())

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _unread(self) -> ProviderError | None:
        """Return why the list of a backend could never be read: whether it has the model nobody knows."""
        failures = [error for name, error in self._failures.items() if name not in self._lists]
        return failures[0].with_traceback(None) if failures else None

    def _age(self) -> float:
        return self._clock() - self._read_at

    def start(self) -> asyncio.Task[None]:
        """Begin to read all lists, or return the reading that is under way."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_lists(), name="read model lists")
        return self._reading

    async def _read_lists(self) -> None:
        await asyncio.gather(*(self._read_list(backend) for backend in self.backends))
        self._models = self._merge()
        self._read_at = self._clock()

    async def _read_list(self, backend: Backend) -> None:
        try:
            models = await backend.lister.list_models()
            if backend.name not in self._lists or backend.last_error:
                _log.info("backend_ready", backend=backend.name, kind=backend.kind, models=len(models))
            self._lists[backend.name] = models
            self._failures.pop(backend.name, None)
            backend.last_error = ""
        except ProviderError as error:
            if error.message != backend.last_error:
                _log.warning("model_list_unreadable", backend=backend.name, reason=error.message)
            backend.last_error = error.message
            self._failures[backend.name] = error
        except Exception:  # noqa: BLE001 (one backend's surprise must not hide the others)
            _log.exception("model_list_failed_unexpectedly", backend=backend.name)
            backend.last_error = f"backend {backend.name!r} sent a model list that cannot be read"
            self._failures[backend.name] = ProviderError(backend.last_error)

    def _merge(self) -> dict[str, CatalogModel]:
        merged: dict[str, CatalogModel] = {}
        for backend in self.backends:
            for info in self._lists.get(backend.name, ()):
                name = listable_name(info.model_id, is_native=backend.server is not None)
                known = merged.get(name.key)
                candidate = Candidate(backend, info)
                if known is None:
                    merged[name.key] = CatalogModel(name, (candidate,))
                elif known.backend is not backend and known.backend.kind == backend.kind:
                    merged[name.key] = CatalogModel(known.name, (*known.candidates, candidate))
        return merged
