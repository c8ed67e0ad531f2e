"""What is learned from: kept afterwards, in order, whatever happens to single exchanges; nobody waits for it."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from backend.core.db.group_commit import UNHURRIED
from backend.core.db.tables import utc_now
from backend.core.errors import Overloaded, StoreUnavailable
from backend.features.auth.principal import Principal
from backend.features.generation.record import Answered, Asked, Outcome
from backend.features.generation.transcript import Transcript
from backend.features.history.switches import Switches
from backend.features.memory import learning
from backend.features.memory.exchanges import Exchange
from backend.features.memory.learning import Learner
from backend.features.memory.recorder import Finished, MemoryRecorder
from backend.features.memory.word_index import Whose
from backend.features.memory.writing import MemoryWriter
from backend.llm.events import TextDelta
from backend.llm.grounding import Grounding, Source
from backend.llm.types import ChatRequest
from tests.fakes.records import begin, end
from tests.fakes.team import ANA
from tests.unit.features.memory.test_augmenting import asked_by, chat

CHAT = uuid.UUID(int=3)
MEMORY = Grounding((Source(1, "m", "earlier exchange", kind="memory"),), "keyword", 1)


def transcript(*texts: str) -> Transcript:
    made = Transcript()
    for text in texts:
        made.append([TextDelta(text)])
    return made


def finished(answer: str = "Aye.") -> Finished:
    whose = Whose(uuid.UUID(int=1), uuid.UUID(int=2))
    return Finished(whose, CHAT, "Why?", transcript(answer), None, utc_now())


@dataclass
class Commits:
    """Stands in for `GroupCommit`."""

    failures: list[Exception | None] = field(default_factory=list)
    is_full: bool = False
    kept: list[Exchange] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)

    def write(self, _writer: Any, exchange: Exchange, **options: Any) -> "asyncio.Future[None]":
        if self.is_full:
            raise Overloaded("full", retry_after=1)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failure = self.failures.pop(0) if self.failures else None
        if failure is None:
            self.kept.append(exchange)
            done.set_result(None)
        else:
            done.set_exception(failure)
        self.options.append(options)
        return done


def learner_on(commits: Commits) -> Learner:
    return Learner(commits, MemoryWriter(5))  # type: ignore[arg-type]


async def test_exchanges_are_kept_in_order_with_whatever_is_committed_next() -> None:
    commits = Commits()
    learner, told = learner_on(commits), []
    learner.learned = lambda: told.append(1)
    learner.start()
    for answer in ("one", "", "two"):
        learner.learn(finished(answer))
    await asyncio.sleep(1)
    assert [one.answer for one in commits.kept] == ["one", "two"]
    assert commits.options[0] == {"linger": UNHURRIED, "is_durable": False}
    assert len(told) == 2
    await learner.aclose()


async def test_what_waits_at_the_end_is_kept_before_it() -> None:
    commits = Commits()
    learner = learner_on(commits)
    learner.learn(finished("one"))
    learner.learn(finished("two"))
    await learner.aclose()
    assert [one.answer for one in commits.kept] == ["one", "two"]


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), RuntimeError("a bug")])
async def test_one_that_cannot_be_kept_keeps_none_of_the_others_from_it(failure: Exception) -> None:
    commits = Commits([failure])
    learner = learner_on(commits)
    learner.start()
    learner.learn(finished("lost"))
    learner.learn(replace(finished(), transcript=None))  # type: ignore[arg-type]  # a bug
    learner.learn(finished("kept"))
    await asyncio.sleep(1)
    commits.is_full = True
    learner.learn(finished("refused"))
    await asyncio.sleep(1)
    assert [one.answer for one in commits.kept] == ["kept"]
    await learner.aclose()


async def test_more_than_can_be_kept_up_with_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "_MOST_WAITING", 2)
    commits = Commits()
    learner = learner_on(commits)
    for number in range(5):
        learner.learn(finished(str(number)))
    await learner.aclose()
    assert [one.answer for one in commits.kept] == ["0", "1"]


async def recorded(asked: Asked, answered: Answered, *, chat_id: uuid.UUID | None = CHAT) -> Sequence[Finished]:
    """Return what a recorder takes of one request."""
    taken: list[Finished] = []
    record = await begin(MemoryRecorder(Switches(), taken.append), asked)
    asked.chat_id = chat_id
    if record is not None:
        await end(record, answered)
    return taken


def answered_request(principal: Principal = ANA, request: ChatRequest | None = None) -> Asked:
    asked = asked_by(request or chat("Why?"), principal)
    asked.transcript.append([TextDelta("Because.")])
    return asked


async def test_what_ended_well_is_taken_for_whom_it_was_asked() -> None:
    for principal in (ANA, replace(ANA, is_forwarded=True)):
        [taken] = await recorded(answered_request(principal), Answered("ok"))
        exchange = taken.exchange()
        assert exchange is not None
        assert (exchange.user_id, exchange.chat_id) == (ANA.user_id, CHAT)
        assert (exchange.question, exchange.answer) == ("Why?", "Because.")


@pytest.mark.parametrize("outcome", ["error", "interrupted"])
async def test_what_did_not_end_well_is_not(outcome: Outcome) -> None:
    assert await recorded(answered_request(), Answered(outcome)) == []


async def test_nothing_is_kept_outside_a_kept_chat_or_from_memories() -> None:
    assert await recorded(answered_request(), Answered("ok"), chat_id=None) == []
    [taken] = await recorded(answered_request(), Answered("ok", grounding=MEMORY))
    assert taken.exchange() is None
    for principal in (replace(ANA, serves_others=True), replace(ANA, user_id=None)):
        assert await recorded(answered_request(principal), Answered("ok")) == []
