"""A recorder on a database, and requests as the pipeline shows them to it."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select

from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.core.db.tables import utc_now
from backend.features.auth.context import CallContext
from backend.features.auth.principal import Principal
from backend.features.generation.record import Answered, Asked, Outcome
from backend.features.generation.transcript import Transcript
from backend.features.history.models import Chat, StoredMessage
from backend.features.history.recorder import ChatRecord, HistoryRecorder
from backend.features.history.switches import Switches
from backend.features.history.telling import Teller
from backend.features.history.writing import HistoryWriter
from backend.features.live.bus import MemoryBus
from backend.llm.events import TextDelta, Usage
from backend.llm.types import ChatRequest, Message, TextPart
from tests.fakes.providers import ScriptedProvider, backend_of, info, model_of
from tests.fakes.records import begin, end
from tests.fakes.team import ANA

Said = tuple[str, str]
"""Role and text of a message."""


def messages_of(*said: Said) -> tuple[Message, ...]:
    """Return messages."""
    return tuple(Message(role, (TextPart(text),)) for role, text in said)  # type: ignore[arg-type]  # roles


def users(*texts: str) -> list[Said]:
    """Return a conversation: questions and answers in turns."""
    return [("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(texts)]


@dataclass
class Kept:
    """A recorder and what it has kept."""

    database: Database
    commits: GroupCommit
    recorder: HistoryRecorder
    clock: "Clock"

    @classmethod
    def on(cls, database: Database, commits: GroupCommit, changed: Callable[[], None] = lambda: None) -> "Kept":
        """Return a recorder that remembers nothing yet."""
        clock = Clock()
        recorder = HistoryRecorder(commits, HistoryWriter(), Switches(), Teller(MemoryBus()), changed, clock.now)
        return cls(database, commits, recorder, clock)

    async def begin(
        self, said: Sequence[Said], principal: Principal = ANA, conversation: str = "", chat_id: uuid.UUID | None = None
    ) -> tuple[ChatRecord, Transcript]:
        """Begin to answer; what is said goes into the transcript."""
        transcript = Transcript()
        model = model_of(backend_of(ScriptedProvider(), "b"), known=info("up-id"))
        context = CallContext(principal, conversation, chat_id)
        request = ChatRequest("M", messages_of(*said))
        record = await begin(self.recorder, Asked(context, model, request, lambda: 1, transcript))
        assert isinstance(record, ChatRecord)
        return record, transcript

    async def ask(
        self,
        said: Sequence[Said],
        answer: str,
        outcome: Outcome = "ok",
        principal: Principal = ANA,
        conversation: str = "",
    ) -> list[Said]:
        """Answer, and return the conversation with the answer."""
        record, transcript = await self.begin(said, principal, conversation)
        transcript.append([TextDelta(answer)])
        error = "it broke" if outcome == "error" else ""
        await end(record, Answered(outcome, Usage(3, 2), "b", "up-id", 0.5, 0.1, error))
        return [*said, ("assistant", answer)]

    async def chats(self) -> list[Chat]:
        """Return all chats, the oldest first."""
        async with self.database.reading() as session:
            return list(await session.scalars(select(Chat).order_by(Chat.number)))

    async def messages(self, chat: Chat | None = None) -> list[StoredMessage]:
        """Return a chat's messages in their order, or those of the only chat."""
        if chat is None:
            [chat] = await self.chats()
        wanted = select(StoredMessage).where(StoredMessage.chat_id == chat.id).order_by(StoredMessage.seq)
        async with self.database.reading() as session:
            return list(await session.scalars(wanted))

    async def statuses(self) -> list[str]:
        """Return the status of all messages."""
        async with self.database.reading() as session:
            return list(await session.scalars(select(StoredMessage.status).order_by(StoredMessage.number)))


@dataclass
class Clock:
    """A time that passes when it is told to, and a little with every look."""

    at: datetime = field(default_factory=utc_now)

    def now(self) -> datetime:
        """Return the time."""
        self.at += timedelta(milliseconds=1)
        return self.at
