"""The models of all backends under the names clients use."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from backend.core.errors import InvalidRequest
from backend.core.logging import get_logger
from backend.features.auth.principal import Permission, Principal
from backend.features.catalog.backends import Backend
from backend.features.catalog.presets import NoPresets, PresetSource
from backend.llm.capabilities import Capability, ModelInfo
from backend.llm.errors import ModelNotFound, ProviderError
from backend.llm.names import ModelName, listable_name, parse_name, spelled_out
from backend.llm.presets import Preset

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
    preset: Preset | None = None
    """What is put before the model when it is one of ours; the candidates are then those of its base."""

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
        """Whether the model lives on an Ollama machine, which checks, loads and unloads by itself.

        A model of ours lives here, whatever its base does.
        """
        return self.backend.server is not None and self.preset is None

    def can(self, capability: Capability) -> bool:
        """Whether the model has a capability; a model about which nothing is known can try everything."""
        return not self.info.capabilities or capability in self.info.capabilities


class CatalogService:
    """Keeps the model lists of all backends and finds models by name.

    Lists are asked for side by side. A backend that does not answer keeps its last known models: they then fail with
    the backend's error instead of vanishing. Of two backends of different kinds with the same name the first
    configured one counts; backends of one kind share the load.

    Models of ours stand beside them: listed while their base is there, never in the place of a backend's model.

    Args:
        presets: where models of ours are found.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
        presets: PresetSource | None = None,
    ) -> None:
        self.backends = tuple(backends)
        self._ttl = ttl
        self._clock = clock
        self._presets = presets or NoPresets()
        self._lists: dict[str, Sequence[ModelInfo]] = {}
        self._models: dict[str, CatalogModel] = {}
        self._failures: dict[str, ProviderError] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def models(self, principal: Principal) -> Sequence[CatalogModel]:
        """Return all models the caller may use: those of the backends in their order, then ours by name."""
        if not principal.may(Permission.USE_MODELS):
            return ()
        await self._read_if_old()
        listed = [model for model in self._models.values() if principal.may_use(model.name)]
        for preset in self._presets.all(principal):
            base = self._models.get(preset.base.key)
            if base is not None and preset.name.key not in self._models and principal.may_use(preset.name):
                listed.append(CatalogModel(preset.name, base.candidates, preset))
        return tuple(listed)

    async def resolve(self, name: str, principal: Principal) -> CatalogModel:
        """Return the model a client names, `latest` and case aside; the one way to a model for every wire format.

        `me/` stands for the caller's own namespace. A model of ours comes with the candidates of its base, which its
        users need not be allowed to see.

        Raises `NotPermitted` for a caller who may use no models at all, `InvalidRequest` for a name that cannot be one,
        `ModelNotFound` when there is none or the caller may not use it, and the backend's own error when the list of
        one could never be read.
        """
        principal.require(Permission.USE_MODELS)
        parsed = parse_name(name)
        if parsed is None:
            raise InvalidRequest("invalid model name")
        wanted = spelled_out(parsed, principal.trigramme)
        preset = None if wanted.key in self._models else self._presets.find(wanted, principal)
        model = await self._known(wanted.key if preset is None else preset.base.key)
        if not principal.may_use(wanted):
            raise ModelNotFound(f"model '{name}' not found")
        if preset is None:
            return model or self._missing(f"model '{name}' not found")
        if (shadowing := self._models.get(wanted.key)) is not None:
            return shadowing  # the lists were read meanwhile
        if model is None:
            return self._missing(f"model '{name}' not found: the model it is made from, '{preset.base.short}', is gone")
        return CatalogModel(preset.name, model.candidates, preset)

    async def find_base(self, name: ModelName) -> CatalogModel | None:
        """Return a backend's model whoever may use it, or None; for describing what is made from it."""
        await self._read_if_old()
        return self._models.get(name.key)

    def is_reserved(self, name: ModelName, principal: Principal) -> bool:
        """Whether a name is kept for models of ours: one has it, or it lies in the caller's own namespace."""
        wanted = spelled_out(name, principal.trigramme)
        is_own = bool(principal.trigramme) and wanted.namespace.lower() == principal.trigramme
        return is_own or self._presets.takes(wanted)

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

    async def _known(self, key: str) -> CatalogModel | None:
        """Return a backend's model; an unknown one may be asked for again, a known one is served from what was read."""
        model = self._models.get(key)
        if model is None and self._age() > min(self._ttl, _RETRY_SECONDS):
            await self.refresh()
            model = self._models.get(key)
        elif self._age() > self._ttl:
            self.start()
        return model

    async def _read_if_old(self) -> None:
        if self._age() > self._ttl:
            await self.refresh()

    def _missing(self, told: str) -> NoReturn:
        raise self._unread() or ModelNotFound(told)

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
