"""What is kept of conversations, and where: on both databases, from memory and from the store alike."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, text

from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.core.errors import NotFound, Overloaded, StoreUnavailable
from backend.features.accounts.models import User
from backend.features.auth.context import CallContext
from backend.features.generation.record import Answered, Asked
from backend.features.generation.transcript import Transcript
from backend.features.history.models import Chat, StoredMessage
from backend.features.history.upkeep import Upkeep
from backend.llm.events import TextDelta
from backend.llm.types import ChatRequest
from tests.fakes import team
from tests.fakes.providers import ScriptedProvider, backend_of, info, model_of
from tests.fakes.records import begin, end
from tests.fakes.team import ANA, BOB
from tests.integration.history.recording import Kept, messages_of, users


@pytest.fixture
async def commits(database: Database) -> AsyncIterator[GroupCommit]:
    """Yield what writes to a database with a team in it."""
    await team.fill(database)
    opened = GroupCommit(database)
    opened.start()
    yield opened
    await opened.aclose()


@pytest.fixture
def kept(database: Database, commits: GroupCommit) -> Kept:
    """A recorder."""
    return Kept.on(database, commits)


def shape(messages: list[StoredMessage]) -> list[tuple[int, str, str, int | None]]:
    """Return sequence, role, text and the parent's sequence of each message."""
    seqs = {message.id: message.seq for message in messages}
    return [(m.seq, m.role, m.content, None if m.parent_id is None else seqs[m.parent_id]) for m in messages]


async def test_a_question_is_kept_before_it_is_answered_and_the_answer_once(kept: Kept) -> None:
    record, transcript = await kept.begin(users("hello"))
    question, answer = await kept.messages()
    assert (question.content, question.status, answer.content, answer.status) == ("hello", "complete", "", "pending")
    transcript.append([TextDelta("hi")])
    await end(record, Answered("ok", backend="b", model_id="up-id", seconds=0.25))
    await end(record, Answered("error", error="late"))
    _, answer = await kept.messages()
    assert (answer.content, answer.status, answer.error) == ("hi", "complete", None)
    assert (answer.llm_model, answer.llm_provider, answer.ms) == ("up-id", "b", 250)
    [chat] = await kept.chats()
    assert answer.finished_at is not None
    assert chat.updated_at >= answer.finished_at


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_conversation_goes_on_in_its_chat_however_long_ago(kept: Kept, restarted: bool) -> None:
    said = users("one")
    for number in range(6):
        said = await kept.ask(said, f"answer {number}")
        said.append(("user", f"question {number}"))
        kept.clock.at += timedelta(days=3)
        if restarted:
            kept = Kept.on(kept.database, kept.commits)
    messages = await kept.messages()
    assert [seq for seq, *_ in shape(messages)] == list(range(1, 13))
    assert [parent for *_, parent in shape(messages)] == [None, *range(1, 12)]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("outcome", ["ok", "error", "interrupted"])
async def test_asking_again_adds_an_answer_and_no_second_question(kept: Kept, restarted: bool, outcome: Any) -> None:
    said = await kept.ask(users("hello"), "hi", outcome)
    if restarted:
        kept = Kept.on(kept.database, kept.commits)
    await kept.ask(users("hello"), "good day")
    assert shape(await kept.messages()) == [
        (1, "user", "hello", None),
        (2, "assistant", "hi", 1),
        (3, "assistant", "good day", 1),
    ]
    said = users("hello", "good day", "bye")
    await kept.ask(said, "so long")
    await kept.ask(said, "bye")
    assert shape(await kept.messages())[3:] == [
        (4, "user", "bye", 3),
        (5, "assistant", "so long", 4),
        (6, "assistant", "bye", 4),
    ]


async def test_a_greeting_is_a_new_chat_once_the_old_one_has_gone_on_or_is_old(kept: Kept) -> None:
    said = await kept.ask(users("hello"), "hi")
    await kept.ask([*said, ("user", "more")], "well")
    await kept.ask(users("hello"), "hi")
    assert len(await kept.chats()) == 2
    kept.clock.at += timedelta(minutes=11)
    await kept.ask(users("hello"), "hi")
    assert len(await kept.chats()) == 3


async def test_an_edited_turn_continues_from_where_it_was(kept: Kept) -> None:
    said = await kept.ask(users("one"), "first")
    said = await kept.ask([*said, ("user", "two")], "second")
    said = await kept.ask([*said, ("user", "three")], "third")
    await kept.ask([*said[:2], ("user", "two, but better")], "other")
    await kept.ask([*said[:3], ("assistant", "second, as I want it"), ("user", "three")], "mine")
    assert shape(await kept.messages())[6:] == [
        (7, "user", "two, but better", 2),
        (8, "assistant", "other", 7),
        (9, "assistant", "second, as I want it", 3),
        (10, "user", "three", 9),
        (11, "assistant", "mine", 10),
    ]


@pytest.mark.parametrize("seen", ["I was just", "I was", "I was just about"])
async def test_a_cut_answer_is_gone_on_from_though_its_client_saw_less_or_more(kept: Kept, seen: str) -> None:
    await kept.ask(users("go on"), "I was just", "interrupted")
    await kept.ask(users("go on", seen, "and then?"), "done")
    assert shape(await kept.messages())[2:] == [(3, "user", "and then?", 2), (4, "assistant", "done", 3)]


async def test_a_conversation_from_elsewhere_begins_with_its_last_question(kept: Kept) -> None:
    await kept.ask(users("unknown", "answer", "known"), "yes")
    assert shape(await kept.messages()) == [(1, "user", "known", None), (2, "assistant", "yes", 1)]
    await kept.ask(users("unknown", "answer", "known", "yes", "more"), "fine")
    assert [content for _, _, content, _ in shape(await kept.messages())] == ["known", "yes", "more", "fine"]


async def test_the_clients_own_id_of_a_chat_is_enough(kept: Kept) -> None:
    await kept.ask(users("hello"), "hi", conversation="c-1")
    await kept.ask(users("hello"), "hi", conversation="c-2")
    await kept.ask([("system", "x"), *users("shortened by the client", "a", "next")], "ok", conversation="c-1")
    await kept.ask(users("hello"), "hi", conversation="c-1", principal=BOB)
    first, second, other = await kept.chats()
    assert (first.external_id, second.external_id, other.external_id) == ("c-1", "c-2", "c-1")
    assert shape(await kept.messages(first))[2:] == [(3, "user", "next", 2), (4, "assistant", "ok", 3)]
    kept = Kept.on(kept.database, kept.commits)
    await kept.ask(users("later"), "ok", conversation="c-2")
    assert len(await kept.messages(second)) == 4


async def test_nobody_goes_on_with_a_chat_of_somebody_elses(kept: Kept) -> None:
    said = await kept.ask(users("hello"), "hi")
    [chat] = await kept.chats()
    await kept.ask([*said, ("user", "more")], "well", principal=BOB)
    with pytest.raises(NotFound):
        await kept.begin([*said, ("user", "more")], BOB, chat_id=chat.id)
    assert len(await kept.messages(chat)) == 2
    assert [found.user_id for found in await kept.chats()] == [ANA.user_id, BOB.user_id]


async def test_many_at_once_in_one_chat_take_turns(kept: Kept) -> None:
    said = await kept.ask(users("hello"), "hi")
    other = Kept.on(kept.database, kept.commits)
    asked = [k.ask([*said, ("user", f"question {n}")], f"answer {n}") for n in range(20) for k in (kept, other)]
    await asyncio.gather(*asked)
    messages = await kept.messages()
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    by_id = {message.id: message for message in messages}
    answers = [message for message in messages if message.role == "assistant"]
    assert len(answers) == 41
    for answer in answers[1:]:
        assert answer.parent_id is not None
        assert by_id[answer.parent_id].content == answer.content.replace("answer", "question")


async def test_two_processes_at_once_in_one_chat_take_turns(kept: Kept, address: str | None) -> None:
    if address is None:
        pytest.skip("an embedded database has one process")
    said = await kept.ask(users("hello"), "hi", conversation="c")
    database = Database(kept.database.url)
    commits = GroupCommit(database)
    commits.start()
    other = Kept.on(database, commits)
    asked = [
        k.ask([*said, ("user", f"{n} of {name}")], "ok", conversation=conversation)
        for n in range(15)
        for name, k in (("one", kept), ("other", other))
        for conversation in ("c", "new")
    ]
    await asyncio.gather(*asked)
    for chat in await kept.chats():
        messages = await kept.messages(chat)
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    assert [chat.external_id for chat in await kept.chats()] == ["c", "new"]
    await commits.aclose()
    await database.aclose()


async def test_text_that_cannot_be_kept_as_it_is_fails_nothing(kept: Kept) -> None:
    said = await kept.ask([("user", "a\x00b\ud800c")], "d\x00e\udfff")
    await kept.ask([*said, ("user", "\x00")], "fine")
    assert [message.content for message in await kept.messages()] == [
        "a\ufffdb\ufffdc",
        "d\ufffde\ufffd",
        "\ufffd",
        "fine",
    ]


async def test_who_left_before_anything_was_asked_leaves_no_pending_answer(kept: Kept) -> None:
    for _ in range(5):
        beginning = asyncio.create_task(kept.begin(users("hello")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        beginning.cancel()
        await asyncio.wait({beginning})
    await kept.ask(users("last"), "fine", principal=BOB)  # what was begun before is written by now
    async with asyncio.timeout(10):
        while True:
            async with kept.database.reading() as session:
                found = await session.execute(text("select status, count(*) from messages group by status"))
            counts = {status: count for status, count in found}  # noqa: C416 (rows, not pairs)
            if "pending" not in counts:
                break
            await asyncio.sleep(0.02)
    assert counts["interrupted"] == 5


async def test_a_chat_that_is_removed_meanwhile_is_not_written_to(kept: Kept) -> None:
    said = await kept.ask(users("hello"), "hi")
    record, _ = await kept.begin([*said, ("user", "more")])
    async with kept.database.transaction() as session:
        await session.execute(delete(Chat))
    await end(record, Answered("ok"))
    assert await kept.chats() == []
    await kept.ask([*said, ("user", "more")], "well")
    assert len(await kept.messages()) == 2


async def test_a_store_that_is_away_at_the_beginning_is_told(kept: Kept) -> None:
    async with kept.database.transaction() as session:
        await session.execute(delete(User).where(User.id == ANA.user_id))
    with pytest.raises(StoreUnavailable):
        await kept.begin(users("hello"))
    await kept.ask(users("hello"), "hi", principal=BOB)


async def test_what_a_dead_process_left_becomes_interrupted(kept: Kept, address: str | None) -> None:
    await kept.begin(users("hello"))
    kept.clock.at -= timedelta(hours=1)
    await kept.begin(users("other"))
    upkeep = Upkeep(kept.database, timedelta(minutes=10))
    assert await upkeep.sweep() == 1
    await upkeep.begin()
    statuses = [(await kept.messages(chat))[1].status for chat in await kept.chats()]
    assert sorted(statuses) == ["interrupted", "interrupted" if address is None else "pending"]


async def test_chats_nobody_used_for_long_are_removed_in_pieces(kept: Kept) -> None:
    for number in range(3):
        await kept.ask(users(f"old {number}"), "hi")
    kept.clock.at += timedelta(days=40)
    await kept.ask(users("new"), "hi")
    upkeep = Upkeep(kept.database, timedelta(minutes=10), timedelta(days=30), kept.clock.now)
    assert await upkeep.prune() == 3
    assert [chat.title for chat in await kept.chats()] == ["new"]
    assert await Upkeep(kept.database, timedelta(minutes=10), None, kept.clock.now).prune() == 0


async def test_ids_are_everybodys_own_even_when_guessed(kept: Kept) -> None:
    with pytest.raises(NotFound):
        await kept.begin(users("hello"), chat_id=uuid.uuid4())
    assert await kept.chats() == []


async def test_a_chat_that_is_not_there_fails_nothing_that_comes_with_it(kept: Kept) -> None:
    await kept.ask(users("hello"), "hi")
    [chat] = await kept.chats()
    results = await asyncio.gather(
        kept.begin(users("gone"), chat_id=uuid.uuid4()),
        kept.begin(users("there"), chat_id=chat.id),
        return_exceptions=True,
    )
    assert [isinstance(result, NotFound) for result in results] == [True, False]
    assert [message.content for message in await kept.messages()] == ["hello", "hi", "there", ""]


async def test_a_question_is_kept_though_another_one_undid_its_transaction(kept: Kept) -> None:
    stranger = replace(ANA, user_id=uuid.uuid4())
    said = await kept.ask(users("hello"), "hi")
    results = await asyncio.gather(
        kept.begin([*said, ("user", "more")]),
        kept.begin(users("hello"), stranger),
        return_exceptions=True,
    )
    assert [isinstance(result, StoreUnavailable) for result in results] == [False, True]
    assert [message.content for message in await kept.messages()] == ["hello", "hi", "more", ""]


async def test_only_the_last_turns_of_a_very_long_conversation_are_kept(kept: Kept) -> None:
    await kept.begin([("user", str(number)) for number in range(2_100)])
    messages = await kept.messages()
    assert [message.content for message in messages] == [*map(str, range(1_600, 2_100)), ""]


class _Busy:
    """Commits that take nothing once they are told so."""

    def __init__(self, commits: GroupCommit) -> None:
        self.is_full = False
        self.when_undone = commits.when_undone
        self._commits = commits

    def write(self, writer: Any, item: Any, **how: Any) -> "asyncio.Future[Any]":
        """See `GroupCommit.write`."""
        if self.is_full:
            self.is_full = False
            raise Overloaded("full")
        return self._commits.write(writer, item, **how)


async def test_an_answer_is_kept_though_the_queue_was_full_at_its_end(kept: Kept, commits: GroupCommit) -> None:
    busy = _Busy(commits)
    kept = Kept.on(kept.database, busy)  # type: ignore[arg-type]  # all that is used
    record, transcript = await kept.begin(users("hello"))
    transcript.append([TextDelta("hi")])
    busy.is_full = True
    await end(record, Answered("ok"))
    async with asyncio.timeout(10):
        while (await kept.messages())[1].status != "complete":  # noqa: ASYNC110 (another connection writes)
            await asyncio.sleep(0.05)
    assert (await kept.messages())[1].content == "hi"


async def test_ends_of_streams_share_a_commit_while_many_run(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.features.history.recorder.UNHURRIED", 0.5)
    commits, in_one = 0, kept.database.in_one

    async def counted(*what: Any, **how: Any) -> Any:
        nonlocal commits
        commits += 1
        return await in_one(*what, **how)

    async with asyncio.timeout(20):
        records = [(await kept.begin(users(f"question {number}")))[0] for number in range(12)]
        monkeypatch.setattr(kept.database, "in_one", counted)
        ending = [asyncio.create_task(end(record, Answered("ok"))) for record in records[:3]]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in ending)
        await asyncio.gather(*ending)
        assert commits == 1
        for record in records[3:]:
            await end(record, Answered("ok"))
    assert set(await kept.statuses()) == {"complete"}


async def test_nobody_waits_for_ever_for_a_store_and_it_keeps_all_the_same_what_it_was_told(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("history.recorder._OPEN_SECONDS", "history.recorder._CLOSE_SECONDS"):
        monkeypatch.setattr(f"backend.features.{name}", 0.2)
    monkeypatch.setattr("backend.core.db.group_commit._LOOK_SECONDS", 0.05)
    answers, in_one = asyncio.Event(), kept.database.in_one

    async def slow(*what: Any, **how: Any) -> Any:
        await answers.wait()
        return await in_one(*what, **how)

    async with asyncio.timeout(10):
        record, transcript = await kept.begin(users("hello"))
        transcript.append([TextDelta("hi")])
        monkeypatch.setattr(kept.database, "in_one", slow)
        with pytest.raises(StoreUnavailable):
            await end(record, Answered("ok"))
        with pytest.raises(StoreUnavailable):
            await kept.begin(users("other"))
        answers.set()
        while len(found := await kept.statuses()) < 4 or "pending" in found:  # noqa: ASYNC110 (another connection writes)
            await asyncio.sleep(0.02)
    assert found == ["complete", "complete", "complete", "error"]


async def test_nothing_is_kept_of_people_whom_a_front_end_serves_without_an_account(kept: Kept) -> None:
    model = model_of(backend_of(ScriptedProvider(), "b"), known=info("up-id"))
    request = ChatRequest("M", messages_of(*users("what may my boss not know?")))
    for serves_others in (True, False):
        asker = CallContext(replace(ANA, serves_others=serves_others))
        record = await begin(kept.recorder, Asked(asker, model, request, lambda: 1, Transcript()))
        assert (record is None) == serves_others
        assert bool(await kept.chats()) != serves_others
