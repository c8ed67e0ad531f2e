"""Keeps the conversations of callers with an account, as the pipeline's recorder."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from backend.core.db.group_commit import GroupCommit
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, GatewayError, NotFound, Overloaded, StoreUnavailable
from backend.core.logging import get_logger
from backend.features.auth.context import CallContext
from backend.features.generation.housekeeping import is_housekeeping
from backend.features.generation.record import Answered, Asked
from backend.features.generation.transcript import Transcript
from backend.features.history.models import COMPLETE, ERROR, INTERRUPTED
from backend.features.history.placing import Opened, Opening
from backend.features.history.switches import Switches
from backend.features.history.telling import Running, Teller
from backend.features.history.turns import Fingerprint, keepable, kept_calls, read_conversation
from backend.features.history.writing import Closing, HistoryWriter
from backend.llm.grounding import write_sources
from backend.llm.types import ChatRequest

_log = get_logger(__name__)

_STATUS = {"ok": COMPLETE, "interrupted": INTERRUPTED, "error": ERROR}
_MOST_TRIES = 6
_OPEN_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
"""How long a request waits for the store; what it writes stays in the queue."""
_MAX_ERROR = 500
_MAX_NAME = 600
_LARGE = 2**18
"""Characters of images from which on they are looked at beside the loop."""
_MANY = 2_000
"""Messages from which on they are."""
_AWAY = "your history cannot be kept right now, so nothing was asked; try again"


@dataclass(frozen=True, slots=True)
class SentContext(CallContext):
    """The context of a message that the side API sends: it is kept whatever it says, its answer under a given id."""

    answer_id: uuid.UUID = field(default_factory=uuid.uuid4)


class HistoryRecorder:
    """Implements `Recorder`: a conversation is kept before its backend is asked, or the caller gets a 503.

    What is not a conversation, has no account, is a client's housekeeping, or is switched off for its key or agent is
    not kept.
    """

    def __init__(
        self,
        commits: GroupCommit,
        writer: HistoryWriter,
        switches: Switches,
        teller: Teller,
        changed: Callable[[], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._commits = commits
        self._writer = writer
        self._switches = switches
        self._changed = changed
        self.teller = teller
        self._now = now
        commits.when_undone(writer.places.forget)

    async def begin(self, asked: Asked) -> "ChatRecord | None":
        """See `Recorder.begin`."""
        request, user_id = asked.request, asked.context.principal.user_id
        if user_id is None or not isinstance(request, ChatRequest):
            return None
        if is_housekeeping(request) and not isinstance(asked.context, SentContext):
            return None
        if self._switches.is_off(asked.context.principal, asked.model.preset):
            return None
        opening = await self._opening(asked, user_id, request)
        if not opening.conversation.turns:
            return None
        opened = await self._open(opening, asked.admission)
        asked.chat_id = opened.chat_id
        self._tell(opening, opened, asked.transcript)
        return ChatRecord(self, asked, opened, opening)

    def _tell(self, opening: Opening, opened: Opened, transcript: Transcript) -> None:
        turns = opening.conversation.turns
        new = [{"role": turn.role, "content": turn.text} for turn in turns[len(turns) - opened.new_turns :]]
        self.teller.begin(Running(opened.chat_id, opened.answer_id, transcript), new)

    async def _opening(self, asked: Asked, user_id: uuid.UUID, request: ChatRequest) -> Opening:
        messages, context, preset = request.messages, asked.context, asked.model.preset
        if len(messages) >= _MANY or sum(len(image.data) for message in messages for image in message.images) > _LARGE:
            conversation = await asyncio.to_thread(read_conversation, user_id, messages)
        else:
            conversation = read_conversation(user_id, messages)
        return Opening(
            user_id=user_id,
            conversation=conversation,
            model=keepable(request.model)[:_MAX_NAME],
            at=self._now(),
            answer_id=context.answer_id if isinstance(context, SentContext) else uuid.uuid4(),
            agent_id=None if preset is None else uuid.UUID(preset.preset_id),
            chat_id=context.chat_id,
            external_id=context.conversation or None,
        )

    async def _open(self, opening: Opening, after: "asyncio.Future[Any] | None") -> Opened:
        try:
            try:
                opened = await self._written(opening, after)
            except Conflict:
                # Another process made the same chat at the same time, or the agent was just removed.
                opened = await self._written(opening, after)
        except GatewayError as error:
            raise StoreUnavailable(_AWAY, retry_after=2.0) from error
        if opened is None:
            raise NotFound("there is no such chat")
        return opened

    async def _written(self, opening: Opening, after: "asyncio.Future[Any] | None") -> Opened | None:
        # It need not outlive a loss of power: who asked is told nothing before the end, and that is durable.
        writing = self._commits.write(self._writer.open, opening, is_durable=False, after=after)
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                return await asyncio.shield(writing)
        except (asyncio.CancelledError, TimeoutError) as error:
            writing.add_done_callback(lambda done: self._abandon(done, opening))
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(_AWAY, retry_after=2.0) from error
            raise

    def _abandon(self, done: "asyncio.Future[Opened | None]", opening: Opening) -> None:
        """End what was begun for a caller who had left already."""
        if done.cancelled() or done.exception() is not None or (opened := done.result()) is None:
            return
        values = answer_values(INTERRUPTED)
        fingerprint = opening.conversation.fingerprint.add("assistant", "")
        self._close(Closing(opened, self._now(), fingerprint.digest(), values))

    def close(self, closing: Closing) -> Awaitable[None]:
        """Write how an answer ended; while the store is away or full, again a little later.

        Whoever awaits the result only waits, and not for long. What is never written is marked as interrupted by
        `Upkeep`.
        """
        return _safe(self._close(closing))

    def _close(self, closing: Closing, tries: int = 0) -> "asyncio.Future[None] | None":
        self._changed()
        try:
            writing = self._commits.write(self._writer.close, closing)
        except Overloaded as error:
            self._again(closing, tries, error)
            return None
        writing.add_done_callback(partial(self._check, closing, tries))
        return writing

    def _check(self, closing: Closing, tries: int, done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._again(closing, tries, error)

    def _again(self, closing: Closing, tries: int, error: BaseException) -> None:
        """Try once more if that may help."""
        most = _MOST_TRIES if isinstance(error, StoreUnavailable | Overloaded) else int(isinstance(error, Conflict))
        if tries < most:
            asyncio.get_running_loop().call_later(2**tries, self._close, closing, tries + 1)
        else:
            _log.warning("answer_not_kept", reason=getattr(error, "message", type(error).__name__))

    def now(self) -> datetime:
        """Return the time."""
        return self._now()


class ChatRecord:
    """Implements `Record` for one request."""

    wants_text = True

    def __init__(self, recorder: HistoryRecorder, asked: Asked, opened: Opened, opening: Opening) -> None:
        self._recorder = recorder
        self._asked = asked
        self._opened = opened
        self._fingerprint: Fingerprint = opening.conversation.fingerprint

    def finish(self, answered: Answered) -> Awaitable[None]:
        """See `Record.finish`."""
        said = self._asked.transcript.read()
        digest = self._fingerprint.add("assistant", said.text, said.tool_calls).digest()
        usage = answered.usage
        values = answer_values(
            _STATUS[answered.outcome],
            content=keepable(said.text),
            thinking=keepable(said.thinking),
            tool_calls=kept_calls(said.tool_calls),
            sources=() if answered.grounding is None else write_sources(answered.grounding.sources),
            llm_model=keepable(answered.model_id)[:_MAX_NAME] or None,
            llm_provider=answered.backend[:100] or None,
            error=keepable(answered.error)[:_MAX_ERROR] or None,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            ms=round(answered.seconds * 1000),
        )
        self._recorder.teller.end(self._opened.answer_id, values)
        closing = Closing(self._opened, self._recorder.now(), digest, values)
        return self._recorder.close(closing)


async def _safe(writing: "asyncio.Future[None] | None") -> None:
    """Wait until something is written; whoever waits may leave, and is not told what else happens to it."""
    if writing is not None:
        with contextlib.suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.shield(writing)


def answer_values(status: str, **values: Any) -> dict[str, Any]:
    """Return the columns of an ended answer; what is not said is empty."""
    empty = dict.fromkeys(("llm_model", "llm_provider", "error", "prompt_tokens", "completion_tokens", "ms"))
    return {"content": "", "thinking": "", "tool_calls": (), "sources": (), **empty, **values, "status": status}
