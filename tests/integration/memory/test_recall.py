"""What is kept and what is recalled, on both databases: caps, duplicates, age, vectors, and whose it is."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, select, update

from backend.core.db.database import Database
from backend.core.errors import Conflict, StoreUnavailable
from backend.features.agents.models import Agent, AgentShare
from backend.features.auth.context import CallContext
from backend.features.auth.principal import Principal
from backend.features.generation.record import Asked
from backend.features.generation.transcript import Transcript
from backend.features.history.models import Chat
from backend.features.knowledge.ports import Fingerprint, Purpose
from backend.features.knowledge.vector_rows import VectorRows
from backend.features.memory.exchanges import Exchange
from backend.features.memory.models import Memory
from backend.features.memory.recall import Found, Recall
from backend.features.memory.upkeep import MemoryUpkeep
from backend.features.memory.word_index import Whose
from backend.features.memory.writing import MemoryWriter
from backend.llm.errors import ProviderRejected
from backend.llm.types import ChatRequest, Message, TextPart
from tests.fakes.library import FakeEmbedder, add_agent, vector
from tests.fakes.providers import ScriptedProvider, backend_of, info, model_of
from tests.fakes.team import ADA, ANA, BOB, EVE, LAWYERS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
BOAT = "My sailing boat is called Zephyrine and lies in Concarneau."
ASKED = "Where does my sailing boat lie?"


FAKE = Fingerprint("f" * 16, "fake", "mistral-embed", 2)


@dataclass(frozen=True)
class InUse:
    """Implements `EmbedderInUse`."""

    embedder: "DocumentEmbedder"
    fingerprint: Fingerprint = FAKE


@dataclass
class DocumentEmbedder(FakeEmbedder):
    """One that makes vectors of texts to keep, too."""

    meanings: Mapping[str, Sequence[float]] = field(default_factory=dict)
    failure: Exception | None = None  # type: ignore[assignment]
    asked: list[str] = field(default_factory=list)
    refused: str = ""

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:  # noqa: ARG002
        self.asked += texts
        if self.refused and any(self.refused in text for text in texts):
            raise ProviderRejected("this text is not allowed")
        if self.failure is not None:
            raise self.failure
        return [vector(next((v for word, v in self.meanings.items() if word in text), (0.0, 1.0))) for text in texts]


@dataclass
class Remembered:
    """An agent of Ana's for the lawyers, and what it remembers."""

    database: Database
    agent_id: uuid.UUID
    writer: MemoryWriter
    recall: Recall

    @classmethod
    async def on(cls, database: Database, most: int = 100) -> "Remembered":
        agent_id = await add_agent(database, ANA.user_id, "sailor", learn_from_interaction=True)
        async with database.transaction() as session:
            session.add(AgentShare(agent_id=agent_id, role_id=LAWYERS))
        return cls(database, agent_id, MemoryWriter(most), Recall(database, YEAR, lambda: NOW))

    async def chat(self, who: Principal = ANA) -> uuid.UUID:
        async with self.database.transaction() as session:
            chat = Chat(id=uuid.uuid4(), user_id=who.user_id)
            session.add(chat)
            await session.flush()
            return chat.id

    async def keep(
        self,
        question: str,
        answer: str = "Aye.",
        *,
        who: Principal = ANA,
        days: float = 1,
        chat: uuid.UUID | None = None,
    ) -> uuid.UUID:
        """Keep an exchange; return its chat."""
        chat_id = chat or await self.chat(who)
        assert who.user_id is not None
        at = NOW - timedelta(days=days)
        exchange = Exchange(who.user_id, self.agent_id, chat_id, question, answer, at)
        await self.database.in_one(lambda connection: self.writer.keep(connection, [exchange]))
        return chat_id

    async def find(
        self, *said: str, who: Principal = ANA, chat: uuid.UUID | None = None, agent_id: uuid.UUID | None = None
    ) -> Found:
        roles = ("user", "assistant")
        messages = tuple(Message(roles[at % 2], (TextPart(text),)) for at, text in enumerate(said))  # type: ignore[arg-type]
        model = model_of(backend_of(ScriptedProvider(), "b"), known=info("up-id"))
        asked = Asked(CallContext(who), model, ChatRequest("M", messages), lambda: 1, Transcript(), chat_id=chat)
        assert who.user_id is not None
        return await self.recall.search(Whose(who.user_id, agent_id or self.agent_id), asked)

    async def questions(self, who: Principal = ANA) -> list[str]:
        async with self.database.reading() as session:
            own = select(Memory.question).where(Memory.user_id == who.user_id).order_by(Memory.number)
            return list(await session.scalars(own))


@pytest.fixture
async def remembered(database: Database) -> Remembered:
    return await Remembered.on(database)


def told(found: Found) -> list[str]:
    return [one.memory.question for one in found.memories]


async def test_what_has_to_do_with_a_question_is_recalled_and_nothing_else(remembered: Remembered) -> None:
    await remembered.keep(BOAT)
    await remembered.keep("Comment faire une tarte aux pommes ?", "Avec des pommes et de la pâte.")
    assert (told(await remembered.find(ASKED)), (await remembered.find(ASKED)).mode) == ([BOAT], "keyword")
    assert told(await remembered.find("Une recette de tarte avec mes pommes ?"))[0].startswith("Comment faire")
    for question in ("What is the capital of France?", "and then?", "?", "   ", '"; drop table memories --', "a' | b"):
        assert await remembered.find(question) == Found()


async def test_a_question_at_the_end_of_something_long_is_found(remembered: Remembered) -> None:
    await remembered.keep(BOAT)
    pasted = " ".join(f"{chr(97 + number % 26)}word {chr(97 + number // 26)}thing" for number in range(200))
    asked = "Where does my sailing boat Zephyrine lie?"
    for question in (f"{asked}\n{pasted}", f"{pasted}\n{asked}"):
        assert told(await remembered.find(question)) == [BOAT]
    assert await remembered.find(f"A boat, a word: {pasted}") == Found()


async def test_three_at_most_the_newer_first_where_they_tell_the_same(remembered: Remembered) -> None:
    for days in (200, 3, 100, 40):
        await remembered.keep(f"{BOAT} I said so {days} days ago.", days=days)
    found = await remembered.find(ASKED)
    assert [int(question.split()[-3]) for question in told(found)] == [3, 40, 100]
    scores = [one.score for one in found.memories]
    assert scores[1] / scores[0] == pytest.approx(0.5 ** (37 / 30), rel=0.01)


async def test_a_question_asked_twice_is_recalled_with_one_answer(remembered: Remembered) -> None:
    await remembered.keep(BOAT, "The old answer.", days=9)
    await remembered.keep(BOAT.upper(), "The new answer.")
    assert [one.memory.answer for one in (await remembered.find(ASKED)).memories] == ["The new answer."]


async def test_nothing_is_recalled_from_the_same_chat_or_what_stands_there_already(remembered: Remembered) -> None:
    chat = await remembered.keep(BOAT, "Aye, captain.")
    assert await remembered.find(ASKED, chat=chat) == Found()
    assert await remembered.find(f" {BOAT}\n", "Aye,  captain.", ASKED) == Found()
    assert told(await remembered.find(BOAT, "Another answer.", ASKED)) == [BOAT]


async def test_only_one_user_with_one_agent_is_recalled(database: Database, remembered: Remembered) -> None:
    second = await add_agent(database, ANA.user_id, "second")
    await remembered.keep(BOAT)
    for who in (BOB, EVE, ADA):
        assert await remembered.find(ASKED, who=who) == Found()
    assert await remembered.find(ASKED, agent_id=second) == Found()
    await remembered.keep(f"{BOAT} says Bob", who=BOB)
    assert told(await remembered.find(ASKED, who=BOB)) == [f"{BOAT} says Bob"]
    assert told(await remembered.find(ASKED)) == [BOAT]


async def test_words_count_among_ones_own_memories_alone(remembered: Remembered) -> None:
    await remembered.keep(BOAT)
    before = (await remembered.find(ASKED)).memories[0].score
    for number in range(40):
        await remembered.keep(f"{number} sailing boats lie somewhere", who=BOB)
    assert (await remembered.find(ASKED)).memories[0].score == before


async def test_rights_are_asked_for_each_time(database: Database, remembered: Remembered) -> None:
    await remembered.keep(BOAT, who=BOB)
    assert told(await remembered.find(ASKED, who=BOB)) == [BOAT]
    async with database.transaction() as session:
        await session.execute(delete(AgentShare))
    assert await remembered.find(ASKED, who=BOB) == Found()
    assert await remembered.questions(BOB) == [BOAT]


async def test_beyond_the_cap_the_oldest_go_and_nobody_elses(database: Database) -> None:
    remembered = await Remembered.on(database, most=3)
    await remembered.keep("of Bob", who=BOB)
    for number in range(6):
        await remembered.keep(f"number {number}")
    assert await remembered.questions() == ["number 3", "number 4", "number 5"]
    assert await remembered.questions(BOB) == ["of Bob"]


async def test_the_same_exchange_takes_the_place_of_the_older(remembered: Remembered) -> None:
    await remembered.keep(BOAT, "Aye.")
    await remembered.keep("between")
    await remembered.keep(BOAT.lower(), " AYE.  ")
    await remembered.keep(BOAT, "No.")
    assert await remembered.questions() == ["between", BOAT.lower(), BOAT]


async def test_what_is_too_old_is_not_recalled_and_then_forgotten(database: Database, remembered: Remembered) -> None:
    await remembered.keep(BOAT, days=366)
    await remembered.keep("young", days=364)
    assert await remembered.find(ASKED) == Found()
    await MemoryUpkeep(database, YEAR, lambda: NOW).once()
    assert await remembered.questions() == ["young"]


async def test_memories_go_with_chat_agent_and_user(database: Database, remembered: Remembered) -> None:
    chat = await remembered.keep("first")
    await remembered.keep("second")
    async with database.transaction() as session:
        await session.execute(delete(Chat).where(Chat.id == chat))
    assert await remembered.questions() == ["second"]
    with pytest.raises(Conflict):
        await remembered.keep("third", chat=chat)
    async with database.transaction() as session:
        await session.execute(delete(Agent).where(Agent.id == remembered.agent_id))
    assert await remembered.questions() == []
    assert await remembered.find(ASKED) == Found()


async def test_an_embedder_is_opened_for_memories_too(database: Database, remembered: Remembered) -> None:
    rows = VectorRows(database)
    assert not await rows.has_passages()
    await remembered.keep(BOAT)
    assert await rows.has_passages()


async def test_vectors_find_what_words_do_not_and_a_new_embedder_makes_its_own(
    database: Database, remembered: Remembered
) -> None:
    await remembered.keep(BOAT)
    await remembered.keep("Apples are red.")
    embedder = DocumentEmbedder({"Zephyrine": (1.0, 0.0), "yacht": (0.8, 0.6), "Apples": (-1.0, 0.0)})
    used = InUse(embedder)
    remembered.recall.use_vectors(lambda: used)
    assert await remembered.find("My yacht?") == Found()
    upkeep = MemoryUpkeep(database, YEAR, lambda: NOW)
    upkeep.use_vectors(lambda: used)
    await upkeep.once()
    assert f"{BOAT}\nAye." in embedder.asked
    found = await remembered.find("My yacht?")
    assert (told(found), found.mode) == ([BOAT], "hybrid")
    asked = len(embedder.asked)
    await upkeep.once()
    assert len(embedder.asked) == asked
    embedder.failure = StoreUnavailable("away")
    found = await remembered.find(ASKED)
    assert (told(found), found.mode) == ([BOAT], "keyword")
    embedder.failure = None
    async with database.transaction() as session:
        await session.execute(update(Memory).values(fingerprint="of another"))
    assert await remembered.find("My yacht?") == Found()
    await upkeep.once()
    assert told(await remembered.find("My yacht?")) == [BOAT]


async def test_what_says_about_the_same_takes_the_place_of_the_older(
    database: Database, remembered: Remembered
) -> None:
    for question in ("boat one", "apple", "boat two"):
        await remembered.keep(question)
    await remembered.keep("boat of Bob", who=BOB)
    used = InUse(DocumentEmbedder({"boat": (1.0, 0.0)}))
    upkeep = MemoryUpkeep(database, YEAR, lambda: NOW)
    upkeep.use_vectors(lambda: used)
    await upkeep.once()
    assert await remembered.questions() == ["apple", "boat two"]
    await remembered.keep("boat three")
    await upkeep.once()
    assert await remembered.questions() == ["apple", "boat three"]
    assert await remembered.questions(BOB) == ["boat of Bob"]
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).where(Memory.vector.is_(None))) == 0


async def test_a_memory_that_the_embedder_refuses_keeps_no_other_from_its_vector(
    database: Database, remembered: Remembered
) -> None:
    await remembered.keep(BOAT)
    await remembered.keep("something unspeakable", who=BOB)
    embedder = DocumentEmbedder({"Zephyrine": (1.0, 0.0), "yacht": (0.8, 0.6)}, refused="unspeakable")
    used = InUse(embedder)
    remembered.recall.use_vectors(lambda: used)
    upkeep = MemoryUpkeep(database, YEAR, lambda: NOW)
    upkeep.use_vectors(lambda: used)
    await upkeep.once()
    assert told(await remembered.find("My yacht?")) == [BOAT]
    asked = len(embedder.asked)
    await upkeep.once()
    assert len(embedder.asked) == asked


async def test_of_several_processes_one_makes_the_vectors(database: Database, remembered: Remembered) -> None:
    await remembered.keep(BOAT)
    embedder = DocumentEmbedder({"Zephyrine": (1.0, 0.0)})
    for is_ours in (False, True):
        assert embedder.asked == []
        upkeep = MemoryUpkeep(database, YEAR, lambda: NOW)
        upkeep.use_vectors(lambda: InUse(embedder), lambda is_ours=is_ours: is_ours)  # type: ignore[misc]
        await upkeep.once()
    assert len(embedder.asked) == 1
