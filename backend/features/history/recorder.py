"""Keeps the conversations of callers with an account, as the pipeline's recorder."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from backend.core.db.group_commit import UNHURRIED, GroupCommit, Told
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, GatewayError, NotFound, Overloaded, StoreUnavailable
from backend.core.ids import new_id
from backend.core.logging import get_logger
from backend.features.auth.context import CallContext
from backend.features.generation.housekeeping import is_housekeeping
from backend.features.generation.record import Answered, Asked
from backend.features.history.models import COMPLETE, ERROR, INTERRUPTED
from backend.features.history.placing import Opened, Opening
from backend.features.history.switches import Switches
from backend.features.history.telling import Running, Teller
from backend.features.history.turns import Conversation, keepable, kept_calls, read_conversation
from backend.features.history.writing import Closing, HistoryWriter
from backend.llm.grounding import write_sources
from backend.llm.types import ChatRequest, Message

_log = get_logger(__name__)

_STATUS = {"ok": COMPLETE, "interrupted": INTERRUPTED, "error": ERROR}
_MOST_TRIES = 6
_OPEN_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
"""How long a request waits for the store; what it writes stays in the queue."""
_BUSY = 8
"""Answers that run besides one, from which on the end of a stream waits for company: alone it costs the disk's time and
half of what keeping it costs at all, and its client has every token by then."""
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

    answer_id: uuid.UUID = field(default_factory=new_id)


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

    def begin(self, asked: Asked) -> "ChatRecord | None":
        """See `Recorder.begin`."""
        request, user_id = asked.request, asked.context.principal.user_id
        if user_id is None or not isinstance(request, ChatRequest):
            return None
        if is_housekeeping(request) and not isinstance(asked.context, SentContext):
            return None
        if self._switches.is_off(asked.context.principal, asked.model.preset):
            return None
        record = ChatRecord(self, asked, user_id)
        if _is_large(request.messages):
            return record
        return record if record.start(read_conversation(user_id, request.messages)) else None

    def open(
        self, opening: Opening, after: "asyncio.Future[Any] | None", told: Told
    ) -> "asyncio.Future[Opened | None]":
        """Begin to write a beginning.

        It need not outlive a loss of power: who asked is told nothing before the end, and that is durable.
        """
        return self._commits.write(
            self._writer.open, opening, is_durable=False, after=after, patience=_OPEN_SECONDS, told=told
        )

    def close(self, closing: Closing, tries: int = 0) -> "asyncio.Future[None] | None":
        """Write how an answer ended; while the store is away or full, again a little later.

        Whoever awaits the result only waits, and not for long; None when the store takes no more just now. What is
        never written is marked as interrupted by `Upkeep`.
        """
        self._changed()
        told = partial(self._check, closing, tries)
        linger = UNHURRIED if closing.is_streamed and self.teller.running >= _BUSY else 0.0
        try:
            return self._commits.write(self._writer.close, closing, linger=linger, patience=_CLOSE_SECONDS, told=told)
        except Overloaded as error:
            self._again(closing, tries, error)
            return None

    def _check(self, closing: Closing, tries: int, _: None, error: Exception | None) -> None:
        if error is not None:
            self._again(closing, tries, error)

    def _again(self, closing: Closing, tries: int, error: Exception) -> None:
        """Try once more if that may help."""
        most = _MOST_TRIES if isinstance(error, StoreUnavailable | Overloaded) else int(isinstance(error, Conflict))
        if tries < most:
            asyncio.get_running_loop().call_later(2**tries, self.close, closing, tries + 1)
        else:
            _log.warning("answer_not_kept", reason=getattr(error, "message", type(error).__name__))

    def now(self) -> datetime:
        """Return the time."""
        return self._now()


class ChatRecord:
    """Implements `Record` for one request."""

    wants_text = True

    def __init__(self, recorder: HistoryRecorder, asked: Asked, user_id: uuid.UUID) -> None:
        self._recorder = recorder
        self._asked = asked
        self._user_id = user_id
        self._opening: Opening | None = None
        self._writing: asyncio.Future[Opened | None] | None = None
        self._opened: Opened | None = None
        self._answered: Answered | None = None

    def start(self, conversation: Conversation) -> bool:
        """Begin to write the beginning; return whether there is anything to keep."""
        if not conversation.turns:
            return False
        context, preset = self._asked.context, self._asked.model.preset
        self._opening = Opening(
            user_id=self._user_id,
            conversation=conversation,
            model=keepable(self._asked.request.model)[:_MAX_NAME],
            at=self._recorder.now(),
            answer_id=context.answer_id if isinstance(context, SentContext) else new_id(),
            agent_id=None if preset is None else uuid.UUID(preset.preset_id),
            chat_id=context.chat_id,
            external_id=context.conversation or None,
        )
        self._writing = self._recorder.open(self._opening, self._asked.admission, self._told)
        return True

    async def begun(self) -> None:
        """See `Record.begun`."""
        request = self._asked.request
        if self._opening is None and isinstance(request, ChatRequest):
            self.start(await asyncio.to_thread(read_conversation, self._user_id, request.messages))
        if self._opening is None or self._writing is None:
            return
        try:
            try:
                opened = await self._writing
            except Conflict:
                # Another process made the same chat at the same time, or the agent was just removed.
                opened = await self._recorder.open(self._opening, self._asked.admission, self._told)
        except GatewayError as error:
            raise StoreUnavailable(_AWAY, retry_after=2.0) from error
        if opened is None:
            raise NotFound("there is no such chat")
        self._asked.chat_id = opened.chat_id
        turns = self._opening.conversation.turns
        new = [{"role": turn.role, "content": turn.text} for turn in turns[len(turns) - opened.new_turns :]]
        self._recorder.teller.begin(Running(opened.chat_id, opened.answer_id, self._asked.transcript), new)

    def _told(self, opened: Opened | None, _: Exception | None) -> None:
        self._opened = opened
        if opened is not None and self._answered is not None:
            self._close(opened, self._answered)  # its caller had left already

    def finish(self, answered: Answered) -> Awaitable[None] | None:
        """See `Record.finish`; what is not written yet is ended as soon as it is."""
        self._answered = answered
        return None if self._opened is None else self._close(self._opened, answered)

    def _close(self, opened: Opened, answered: Answered) -> Awaitable[None] | None:
        if self._opening is None:
            return None
        said = self._asked.transcript.read()
        digest = self._opening.conversation.fingerprint.add("assistant", said.text, said.tool_calls).digest()
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
        self._recorder.teller.end(opened.answer_id, values)
        is_streamed = isinstance(self._asked.request, ChatRequest) and self._asked.request.stream
        return self._recorder.close(Closing(opened, self._recorder.now(), digest, values, is_streamed))


def _is_large(messages: Sequence[Message]) -> bool:
    """Whether reading messages takes long enough to be done beside the loop."""
    return len(messages) >= _MANY or sum(len(image.data) for message in messages for image in message.images) > _LARGE


def answer_values(status: str, **values: Any) -> dict[str, Any]:
    """Return the columns of an ended answer; what is not said is empty."""
    empty = dict.fromkeys(("llm_model", "llm_provider", "error", "prompt_tokens", "completion_tokens", "ms"))
    return {"content": "", "thinking": "", "tool_calls": (), "sources": (), **empty, **values, "status": status}
