"""Puts memories before questions, beside documents: implements the pipeline's port `Augmenter` around another one."""

import asyncio
from dataclasses import replace

from backend.core.clock import monotonic_ns
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.generation.augment import Augmented, Augmenter
from backend.features.generation.housekeeping import is_housekeeping
from backend.features.generation.record import Asked
from backend.features.history.switches import Switches
from backend.features.knowledge.budget import Budget, plan, prompt_tokens, widen
from backend.features.memory.framing import SHARE, fit, put_before
from backend.features.memory.recall import Found, Recall
from backend.features.memory.recorder import learner_of
from backend.features.memory.word_index import Whose
from backend.llm.grounding import Grounding
from backend.llm.types import ChatRequest

_log = get_logger(__name__)

RECALL_SECONDS = 2.0
FAILED = "earlier exchanges could not be searched; this answer does not rest on them"


class MemoryAugmenter:
    """Adds what was recalled to what another augmenter found.

    A search that fails is told in the answer's grounding and fails nothing.

    Args:
        documents: the other one; what it raises is raised.
        recall: searches memories.
        switches: whose conversations are not kept; they recall nothing either.
    """

    def __init__(self, documents: Augmenter, recall: Recall, switches: Switches) -> None:
        self._documents = documents
        self._recall = recall
        self._switches = switches

    async def augment(self, asked: Asked, request: ChatRequest) -> Augmented | None:
        """See `Augmenter.augment`."""
        done = await self._documents.augment(asked, request)
        whose = self._whose(asked, request)
        if whose is None:
            return done
        started = monotonic_ns()
        try:
            async with asyncio.timeout(RECALL_SECONDS):
                found = await self._recall.search(whose, asked)
        except Exception as error:  # noqa: BLE001 (a search that fails must not fail the chat, whatever the reason)
            if isinstance(error, GatewayError | TimeoutError):
                _log.warning("recall_failed", reason=type(error).__name__)
            else:
                _log.exception("recall_failed_unexpectedly")
            return _noted(done, request, _ms(started))
        return _with(done, request, asked, found, started) if found.memories else done

    def _whose(self, asked: Asked, request: ChatRequest) -> Whose | None:
        """Return whose memories are to be searched; None where this is no question of a person's, or X-RAG is off."""
        if asked.context.knowledge.is_off or not request.messages or request.messages[-1].role != "user":
            return None
        if isinstance(asked.request, ChatRequest) and is_housekeeping(asked.request):
            return None
        return learner_of(asked, self._switches)


def _with(done: Augmented | None, request: ChatRequest, asked: Asked, found: Found, started: int) -> Augmented | None:
    """Return the request with as many memories before its question as have room."""
    model = asked.model
    before = request if done is None else done.request
    budget = plan(request, model.info, is_ollama=model.backend.server is not None)
    sources = () if done is None else done.grounding.sources
    blocks = fit(found.memories, _room(budget, prompt_tokens(before) - prompt_tokens(request)), len(sources) + 1)
    if not blocks:
        return done
    grounding = Grounding((), "none", 0) if done is None else done.grounding
    told = replace(
        grounding,
        sources=(*sources, *(block.source for block in blocks)),
        mode=grounding.mode if sources else found.mode,
        ms=grounding.ms + _ms(started),
    )
    written = widen(put_before(before, blocks), budget)
    return Augmented(written, told, has_footer=done is not None and done.has_footer)


def _room(budget: Budget, taken: int) -> int:
    """Return the tokens that memories may take, beside what documents took."""
    return max(min(int(budget.window * SHARE), budget.rest - taken), 0)


def _noted(done: Augmented | None, request: ChatRequest, ms: int) -> Augmented:
    """Return what there is, with a word that memories could not be searched."""
    if done is None:
        return Augmented(replace(request, source=None), Grounding((), "none", ms, FAILED))
    note = f"{done.grounding.note}; {FAILED}" if done.grounding.note else FAILED
    return replace(done, grounding=replace(done.grounding, note=note))


def _ms(started: int) -> int:
    return (monotonic_ns() - started) // 1_000_000
