"""Notes finished exchanges with agents that learn, as the pipeline's recorder; what is kept is decided afterwards."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from backend.core.db.tables import utc_now
from backend.features.generation.record import Answered, Asked
from backend.features.generation.transcript import Transcript
from backend.features.history.switches import Switches
from backend.features.memory.exchanges import Exchange, answer_of, question_of
from backend.features.memory.word_index import Whose
from backend.llm.grounding import Grounding
from backend.llm.types import ChatRequest


def learner_of(asked: Asked, switches: Switches) -> Whose | None:
    """Return whose memories a request may read and add to; None where there are none.

    The agent must learn, the caller have an account, and the history of key and agent be on: what is said with them is
    not kept, and a key whose history is off may be one that several people use.
    """
    principal, preset = asked.context.principal, asked.model.preset
    if preset is None or not preset.learns or principal.user_id is None:
        return None
    if not isinstance(asked.request, ChatRequest) or switches.is_off(principal, preset):
        return None
    return Whose(principal.user_id, uuid.UUID(preset.preset_id))


@dataclass(frozen=True, slots=True)
class Finished:
    """An exchange that ended well, not looked at yet."""

    whose: Whose
    chat_id: uuid.UUID
    question: str
    transcript: Transcript
    grounding: Grounding | None
    at: datetime

    def exchange(self) -> Exchange | None:
        """Return what is kept of it, or None."""
        answer = answer_of(self.transcript.read(), self.grounding)
        if not answer:
            return None
        return Exchange(self.whose.user_id, self.whose.agent_id, self.chat_id, self.question, answer, self.at)


class MemoryRecorder:
    """Implements `Recorder`; stands after the history's, which finds out to which chat a request belongs.

    Args:
        switches: what is not kept.
        learn: takes what ended well; returns at once.
        now: the time, with its zone.
    """

    def __init__(
        self, switches: Switches, learn: Callable[[Finished], None], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._switches = switches
        self._learn = learn
        self._now = now

    def begin(self, asked: Asked) -> "MemoryRecord | None":
        """See `Recorder.begin`; asks nobody."""
        whose = learner_of(asked, self._switches)
        if whose is None or not isinstance(asked.request, ChatRequest):
            return None
        question = question_of(asked.request)
        return MemoryRecord(self, whose, question, asked) if question else None

    def finish(self, record: "MemoryRecord", answered: Answered) -> None:
        """Take an exchange that ended well."""
        chat_id = record.asked.chat_id
        if answered.outcome == "ok" and chat_id is not None:
            self._learn(
                Finished(
                    record.whose, chat_id, record.question, record.asked.transcript, answered.grounding, self._now()
                )
            )


class MemoryRecord:
    """Implements `Record` for one request."""

    wants_text = True

    def __init__(self, recorder: MemoryRecorder, whose: Whose, question: str, asked: Asked) -> None:
        self._recorder = recorder
        self.whose = whose
        self.question = question
        self.asked = asked

    async def begun(self) -> None:
        """See `Record.begun`; nobody refuses."""

    def finish(self, answered: Answered) -> None:
        """See `Record.finish`; nobody waits until it is kept."""
        self._recorder.finish(self, answered)
