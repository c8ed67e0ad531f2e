"""Puts documents before questions: implements the pipeline's port `Augmenter`.

What is not a question of a person to documents is let through without a look at the store. A search that fails is told
in the answer's grounding; only an agent that requires its documents then refuses to answer.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from backend.core.clock import monotonic_ns
from backend.core.db.database import Database
from backend.core.errors import GatewayError, InvalidRequest, StoreUnavailable
from backend.core.logging import get_logger
from backend.core.metrics import RETRIEVAL_TIME, RETRIEVALS
from backend.features.auth.context import CallContext
from backend.features.generation.augment import Augmented
from backend.features.generation.housekeeping import is_housekeeping
from backend.features.generation.record import Asked
from backend.features.knowledge.assembly import RULES, Block, compose, cost, fit_passages, write_documents
from backend.features.knowledge.attachments import attached_characters, read_attached
from backend.features.knowledge.budget import Budget, plan, widen
from backend.features.knowledge.budget import count as count_tokens
from backend.features.knowledge.questions import read_question
from backend.features.knowledge.retrieval import NO_DOCUMENTS, Found, Retrieval
from backend.features.knowledge.scopes import Scope, resolve
from backend.llm.grounding import Grounding, Mode
from backend.llm.presets import Knowledge
from backend.llm.types import ChatRequest

_log = get_logger(__name__)

TOTAL_SECONDS = 5.0
_PASSAGES = 10
_AROUND = 16
"""Tokens of the system turn that rules may need, and blanks."""
_SURELY = 4
"""Characters to a token at most: what is longer does not fit, what passages share counted twice."""
NOTHING = Found((), "none")
_FAILED = "the documents could not be searched; this answer does not rest on them"
_REQUIRED = "this agent answers only from its documents, and they cannot be searched now; try again in a moment"
_NO_ROOM = "the model's window has no room for passages; shorten the conversation or set num_ctx"

FindChat = Callable[[CallContext], Awaitable[uuid.UUID | None]]
"""Returns the chat a request continues, once the caller's right to it is sure."""


async def known_chat(context: CallContext) -> uuid.UUID | None:
    """Return the chat that whoever took the request in has checked."""
    return context.chat_id


@dataclass(frozen=True, slots=True)
class _Case:
    """One request that is about documents."""

    asked: Asked
    request: ChatRequest
    settings: Knowledge
    agent_id: uuid.UUID | None


class KnowledgeAugmenter:
    """Finds and puts in what conversations are to be answered from.

    Args:
        database: holds collections, rights and passages.
        retrieval: searches them.
        find_chat: tells the chat of a request.
    """

    def __init__(self, database: Database, retrieval: Retrieval, find_chat: FindChat = known_chat) -> None:
        self._database = database
        self._retrieval = retrieval
        self._find_chat = find_chat

    async def augment(self, asked: Asked, request: ChatRequest) -> Augmented | None:
        """See `Augmenter.augment`."""
        context, preset = asked.context, asked.model.preset
        wish = context.knowledge
        settings = None if preset is None else preset.knowledge
        is_asked = settings is not None and settings.mode != "off"
        if wish.is_off or not (is_asked or wish.collections or context.chat_id or context.conversation):
            return None
        if not request.messages or request.messages[-1].role != "user" or _is_of_a_client(asked):
            return None
        agent_id = uuid.UUID(preset.preset_id) if is_asked and preset is not None else None
        case = _Case(asked, request, settings or Knowledge(), agent_id)
        started = monotonic_ns()
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                done = await self._augment(case, started)
        except InvalidRequest:
            raise
        except Exception as error:  # noqa: BLE001 (a search that fails must not fail the chat, whatever the reason)
            done = _without(case, error, started)
        if done is not None:
            RETRIEVALS.labels(done.grounding.mode).inc()
            RETRIEVAL_TIME.observe((monotonic_ns() - started) / 1e9)
        return done

    async def _augment(self, case: _Case, started: int) -> Augmented | None:
        context, request = case.asked.context, case.request
        chat_id = await self._find_chat(context)
        if chat_id is None and case.agent_id is None and not context.knowledge.collections:
            return None
        async with self._database.reading() as session:
            scope = await resolve(
                session,
                context.principal,
                agent_id=case.agent_id,
                chat_id=chat_id,
                wanted=context.knowledge.collections,
            )
        if scope.is_empty:
            if case.settings.mode == "required":
                raise StoreUnavailable(_REQUIRED, retry_after=2.0)  # the caller's right to the agent has just ended
            return None
        model = case.asked.model
        is_ollama = model.backend.server is not None
        budget = plan(request, model.info, is_ollama=is_ollama, rules=count_tokens(RULES) + _AROUND)
        if budget.rest <= 0:
            return Augmented(replace(request, source=None), Grounding((), "none", _ms(started), _NO_ROOM))
        documents, rest = await self._whole(case, scope, budget)
        found = NOTHING
        if not rest.is_empty:
            found = await self._retrieval.search(context.principal, rest, read_question(request.messages), _PASSAGES)
        if not documents and found.note == NO_DOCUMENTS and case.agent_id is None and not scope.collections:
            return None  # a chat like most: nothing is attached to it
        room = budget.passages(case.settings.max_tokens, cost(documents))
        passages = fit_passages(found.passages, room, len(documents) + 1)
        request = widen(compose(request, documents, passages), budget)
        mode: Mode = found.mode if passages else "whole" if documents else "none"
        sources = tuple(block.source for block in (*documents, *passages))
        note = _note(found, len(found.passages) - len(passages), has_documents=bool(documents))
        grounding = Grounding(sources, mode, _ms(started), note)
        return Augmented(request, grounding, has_footer=case.settings.footer)

    async def _whole(self, case: _Case, scope: Scope, budget: Budget) -> tuple[list[Block], Scope]:
        """Return what is attached as whole documents where all of it fits, and what is then left to be searched."""
        if scope.agent_id is None and scope.chat_id is None:
            return [], scope
        principal = case.asked.context.principal
        room = min(budget.whole, case.settings.max_tokens or budget.whole)
        async with self._database.reading() as session:
            length = await attached_characters(session, principal, scope)
            if not length or length // _SURELY > room:
                return [], scope
            attached = await read_attached(session, principal, scope)
        documents = await asyncio.to_thread(write_documents, attached)  # a window of a million tokens holds books
        return (documents, scope.without_attachments()) if cost(documents) <= room else ([], scope)


def _without(case: _Case, error: Exception, started: int) -> Augmented:
    """Return the request as it is with a note, or refuse it where documents are required."""
    if not isinstance(error, (GatewayError, TimeoutError)):
        _log.exception("retrieval_failed_unexpectedly", exc_info=error)
    else:
        _log.warning("retrieval_failed", reason=type(error).__name__)
    if case.settings.mode == "required":
        raise StoreUnavailable(_REQUIRED, retry_after=2.0) from error
    return Augmented(replace(case.request, source=None), Grounding((), "none", _ms(started), _FAILED))


def _is_of_a_client(asked: Asked) -> bool:
    request = asked.request
    return isinstance(request, ChatRequest) and is_housekeeping(request)


def _note(found: Found, left_out: int, *, has_documents: bool) -> str:
    """Return what a caller should know about the sources, in one sentence."""
    if left_out and left_out == len(found.passages):
        return _NO_ROOM
    if left_out:
        more = "one more passage was" if left_out == 1 else f"{left_out} more passages were"
        return f"{more} found, but there was no room for {'it' if left_out == 1 else 'them'}"
    return "" if has_documents and not found.passages else found.note


def _ms(started: int) -> int:
    return (monotonic_ns() - started) // 1_000_000
