"""The embedder in use: the one whose vectors are searched, the one that shall be, and why."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.core.errors import GatewayError, StoreUnavailable
from backend.core.logging import get_logger
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.features.generation.service import GenerationService
from backend.features.knowledge.embedder_choice import KNOWLEDGE, Choice, EmbedderChoice
from backend.features.knowledge.embedding import CatalogEmbedder
from backend.features.knowledge.ports import Fingerprint, TextEmbedder
from backend.features.knowledge.vector_rows import VectorRows

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EmbedderInUse:
    """An embedder that can be asked, and which one it is."""

    embedder: TextEmbedder
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class EmbedderStatus:
    """What administrators are shown."""

    mode: Literal["hybrid", "keyword"]
    """Whether questions are compared by meaning too."""
    kind: str
    """The kind of server that makes vectors."""
    model: str
    fingerprint: str
    dimensions: int
    reason: str
    """Why this one, or why none."""
    is_changing: bool
    """Whether vectors of another embedder are being made, which will then take the place of these."""
    waiting: int
    """Passages that have no vector of it yet."""
    index: str
    """Which kind of index is searched."""


class Embedders:
    """Knows which embedder to ask; looks again when told to.

    Args:
        choice: says which it should be.
        catalog: where the embedder of the vectors there are is found.
        generation: the way to both.
        rows: where it is kept which one is current.
    """

    def __init__(
        self, choice: EmbedderChoice, catalog: CatalogService, generation: GenerationService, rows: VectorRows
    ) -> None:
        self._choice = choice
        self._catalog = catalog
        self._generation = generation
        self._rows = rows
        self._searched: EmbedderInUse | None = None
        self._wanted: EmbedderInUse | None = None
        self._chosen = Choice(None, "not looked yet")
        self._opening = asyncio.Lock()

    @property
    def searched(self) -> EmbedderInUse | None:
        """The embedder of the vectors that are searched; None means keywords alone."""
        return self._searched

    @property
    def wanted(self) -> EmbedderInUse | None:
        """The embedder whose vectors shall be searched; another than `searched` while it changes."""
        return self._wanted

    @property
    def away(self) -> str:
        """Why passages get no vectors now though an embedder was chosen; "" where there is one, or none is wanted."""
        return self._chosen.reason if self._wanted is None and self._chosen.is_awaited else ""

    @property
    def is_changing(self) -> bool:
        """Whether vectors of another embedder shall take the place of those that are searched."""
        return self._wanted is not None and not _same(self._wanted, self._searched)

    @property
    def writing(self) -> Sequence[EmbedderInUse]:
        """Whose vectors new passages need: of the wanted one first, and while it changes of the searched one too."""
        found = [used for used in (self._wanted, self._searched) if used is not None]
        return list({used.fingerprint.value: used for used in found}.values())

    async def question(self, text: str) -> tuple[Fingerprint, bytes]:
        """Return a question's vector and whose it is, of one and the same embedder even while it changes.

        Raises `GatewayError` when the embedder is away, or there is none: keywords alone answer then.
        """
        used = self._searched
        if used is None:
            raise StoreUnavailable(f"semantic search is off: {self._chosen.reason}")
        [vector] = await used.embedder.embed([text], "query")
        return used.fingerprint, vector

    async def refresh(self, *, is_needed: bool = True) -> None:
        """Look which embedder is current and which one is offered; one that does not answer changes nothing.

        Args:
            is_needed: whether there is anything to embed; an embedder that was never used is not asked before.
        """
        async with self._opening:
            current = await self._rows.current()
            choice = await self._choice.choose(None if current is None else (current.provider, current.model))
            try:
                self._wanted = await self._opened(choice, current) if is_needed or current is not None else None
            except GatewayError as error:
                choice = Choice(choice.model, error.message, is_awaited=True)
                self._wanted = None
            self._searched = await self._found(current)
            if choice.reason != self._chosen.reason:
                _log.info("embedder", provider=choice.provider, model=choice.name, reason=choice.reason)
            self._chosen = choice

    async def ensure(self) -> None:
        """Open the embedder for the first passages there are; it is searched at once when nothing was before."""
        if self._wanted is None:
            await self.refresh()
        used = self._wanted
        if used is None or await self._rows.current() is not None:
            return
        if await self._rows.count_without_vector(used.fingerprint.value) == 0:
            await self.switch()

    async def switch(self) -> None:
        """Search the vectors of the wanted embedder from now on."""
        if self._wanted is not None:
            await self._rows.make_current(self._wanted.fingerprint)
            self._searched = self._wanted
            _log.info("embedder_switched", model=self._wanted.fingerprint.model)

    async def status(self, index: str) -> EmbedderStatus:
        """Return what administrators are shown."""
        shown = self._wanted or self._searched
        waiting = 0 if self._wanted is None else await self._rows.count_without_vector(self._wanted.fingerprint.value)
        return EmbedderStatus(
            mode="keyword" if self._searched is None else "hybrid",
            kind=shown.fingerprint.provider if shown else self._chosen.provider,
            model=shown.fingerprint.model if shown else self._chosen.name,
            fingerprint=shown.fingerprint.value if shown else "",
            dimensions=shown.fingerprint.dimensions if shown else 0,
            reason=self._chosen.reason,
            is_changing=self.is_changing,
            waiting=waiting,
            index=index,
        )

    async def _opened(self, choice: Choice, current: Fingerprint | None) -> EmbedderInUse | None:
        if choice.model is None:
            return None
        known = self._wanted
        if known is not None and (known.fingerprint.provider, known.fingerprint.model) == (
            choice.provider,
            choice.name,
        ):
            return EmbedderInUse(known.embedder, await known.embedder.fingerprint())
        return await self._open(choice.model, current)

    async def _open(self, model: CatalogModel, current: Fingerprint | None) -> EmbedderInUse:
        is_current = current is not None and (current.provider, current.model) == (
            model.backend.kind,
            model.info.model_id,
        )
        embedder = CatalogEmbedder(model, self._generation, current if is_current else None)
        return EmbedderInUse(embedder, await embedder.fingerprint())

    async def _found(self, current: Fingerprint | None) -> EmbedderInUse | None:
        """Return the embedder of the vectors there are, if it is still offered."""
        if current is None or self._choice.is_off:
            return None
        for used in (self._wanted, self._searched):
            if used is not None and used.fingerprint == current:
                return used
        try:
            offered = await self._catalog.models(KNOWLEDGE)
        except GatewayError:
            return None  # keywords alone answer until it is back
        for model in offered:
            if (model.backend.kind, model.info.model_id) == (current.provider, current.model) and not model.preset:
                return await self._open(model, current)
        return None


def _same(one: EmbedderInUse, other: EmbedderInUse | None) -> bool:
    return other is not None and one.fingerprint == other.fingerprint
