"""Writes that are committed together, on a SQLite file and on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, insert, select

from backend.core.db.database import Database, database_url
from backend.core.db.group_commit import UNHURRIED, GroupCommit
from backend.core.errors import Collided, Conflict, Overloaded, StoreUnavailable
from tests.fixtures.databases import PostgresServer, postgres

__all__ = ["postgres"]

NUMBERS = Table("numbers", MetaData(), Column("number", Integer, primary_key=True))
BATCHES: list[int] = []


def keep(connection: Connection, numbers: Sequence[int]) -> Sequence[int]:
    connection.execute(insert(NUMBERS), [{"number": number} for number in numbers])
    BATCHES.append(len(numbers))
    return [number * 10 for number in numbers]


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    configured = None
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        configured = await asyncio.to_thread(server.create_database)
    database = Database(database_url(configured, tmp_path))
    async with database.engine.begin() as connection:
        await connection.run_sync(NUMBERS.metadata.create_all)
    BATCHES.clear()
    yield database
    await database.aclose()


@pytest.fixture
async def commits(database: Database) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(database)
    commits.start()
    yield commits
    await commits.aclose()


async def kept(database: Database) -> list[int]:
    async with database.reading() as reading:
        return list((await reading.execute(select(NUMBERS.c.number).order_by(NUMBERS.c.number))).scalars())


async def test_what_comes_together_is_committed_together_and_each_gets_its_own_result(
    database: Database, commits: GroupCommit
) -> None:
    results = await asyncio.gather(*(commits.write(keep, number) for number in range(100)))
    assert results == [number * 10 for number in range(100)]
    assert await kept(database) == list(range(100))
    assert len(BATCHES) <= 2


async def test_one_bad_write_takes_none_of_the_others_with_it(database: Database, commits: GroupCommit) -> None:
    await commits.write(keep, 2)
    results = await asyncio.gather(*(commits.write(keep, number) for number in (1, 2, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [int, Conflict, int]
    assert await kept(database) == [1, 2, 3]


async def test_a_write_nobody_waits_for_is_kept_all_the_same(database: Database, commits: GroupCommit) -> None:
    async def leave() -> None:
        await commits.write(keep, 7)

    task = asyncio.create_task(leave())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await commits.write(keep, 8)
    assert await kept(database) == [7, 8]


async def test_closing_commits_what_waits_and_takes_no_more(database: Database) -> None:
    commits = GroupCommit(database)
    commits.start()
    waiting = [commits.write(keep, number) for number in range(3)]
    await commits.aclose()
    assert await asyncio.gather(*waiting) == [0, 10, 20]
    with pytest.raises(Overloaded):
        commits.write(keep, 4)
    assert await kept(database) == [0, 1, 2]


async def test_what_those_who_are_told_write_at_the_end_is_committed_too(database: Database) -> None:
    commits = GroupCommit(database)
    commits.start()
    commits.write(keep, 1, linger=60, told=lambda *_: (commits.write(keep, 2, linger=60), None)[1])
    async with asyncio.timeout(5):
        await commits.aclose()
    assert await kept(database) == [1, 2]


async def test_each_write_is_told_once_though_the_end_comes_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.core.db.group_commit._CLOSING_SECONDS", 0.2)
    tries, in_one = 0, database.in_one

    async def hangs_at_last(*what: Any, **how: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries > 3:
            await asyncio.Event().wait()
        return await in_one(*what, **how)

    commits = GroupCommit(database)
    commits.start()
    await commits.write(keep, 2)
    monkeypatch.setattr(database, "in_one", hangs_at_last)
    told: list[tuple[int, object]] = []
    for number in (1, 2, 3):  # the second is there already, so each is tried by itself
        commits.write(keep, number, told=lambda result, error, n=number: told.append((n, result or type(error))))
    async with asyncio.timeout(10):
        while len(told) < 2:  # noqa: ASYNC110 (another task tells)
            await asyncio.sleep(0.01)
        await commits.aclose()
    assert told == [(1, 10), (2, Conflict), (3, StoreUnavailable)]


async def test_what_nobody_waits_for_gathers_company(commits: GroupCommit) -> None:
    lazy = [commits.write(keep, number, linger=UNHURRIED) for number in range(3)]
    await asyncio.sleep(0.01)
    assert BATCHES == []
    await commits.write(keep, 3)
    assert BATCHES == [4]
    assert [done.result() for done in lazy] == [0, 10, 20]
    await asyncio.wait_for(commits.write(keep, 4, linger=UNHURRIED), 5)
    assert BATCHES == [4, 1]


async def test_what_waits_without_hurry_is_committed_at_the_end(database: Database) -> None:
    commits = GroupCommit(database)
    commits.start()
    commits.write(keep, 1, linger=UNHURRIED)
    await commits.aclose()
    assert await kept(database) == [1]


async def test_what_need_not_outlive_a_loss_of_power_keeps_its_place(database: Database, commits: GroupCommit) -> None:
    lazy = commits.write(keep, 1, linger=UNHURRIED)
    assert await commits.write(keep, 2, is_durable=False) == 20
    assert lazy.result() == 10
    await asyncio.gather(*(commits.write(keep, number, is_durable=bool(number % 2)) for number in range(3, 20)))
    assert await kept(database) == list(range(1, 20))


async def test_a_store_that_failed_is_used_again(database: Database, commits: GroupCommit) -> None:
    def fail(_connection: Connection, _items: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("a bug")

    for is_durable in (True, False):
        with pytest.raises(RuntimeError):
            await commits.write(fail, 1, is_durable=is_durable)
    assert await commits.write(keep, 1, is_durable=False) == 10
    assert await kept(database) == [1]


async def test_a_store_that_is_away_is_not_asked_once_per_write(commits: GroupCommit) -> None:
    asked: list[int] = []

    def away(_connection: Connection, numbers: Sequence[int]) -> Sequence[int]:
        asked.append(len(numbers))
        raise TimeoutError

    results = await asyncio.gather(*(commits.write(away, number) for number in range(50)), return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    assert asked == [50]


async def test_a_collision_is_tried_once_more_as_a_whole(database: Database, commits: GroupCommit) -> None:
    tries: list[int] = []

    def collide(connection: Connection, numbers: Sequence[int]) -> Sequence[int]:
        tries.append(len(numbers))
        if len(tries) == 1:
            raise Collided("in each other's way")
        return keep(connection, numbers)

    assert await asyncio.gather(*(commits.write(collide, number) for number in range(3))) == [0, 10, 20]
    assert tries == [3, 3]
    assert await kept(database) == [0, 1, 2]


async def test_who_remembers_what_was_written_is_told_before_it_is_written_anew(commits: GroupCommit) -> None:
    told: list[str] = []

    def write(connection: Connection, numbers: Sequence[int]) -> Sequence[int]:
        told.append(f"writes {len(numbers)}")
        return keep(connection, numbers)

    commits.when_undone(lambda: told.append("undone"))
    await commits.write(keep, 2)
    await asyncio.gather(*(commits.write(write, number) for number in (1, 2)), return_exceptions=True)
    assert told == ["writes 2", "undone", "writes 1", "writes 1", "undone"]


async def test_writers_take_turns_in_one_order_whatever_came_first(commits: GroupCommit) -> None:
    order: list[str] = []

    def first(_connection: Connection, numbers: Sequence[int]) -> Sequence[int]:
        order.append("first")
        return numbers

    def second(_connection: Connection, numbers: Sequence[int]) -> Sequence[int]:
        order.append("second")
        return numbers

    await asyncio.gather(commits.write(second, 1), commits.write(first, 2))
    assert order == ["first", "second"]


async def test_what_stands_on_a_write_is_written_with_it_or_not_at_all(database: Database) -> None:
    def judge(connection: Connection, numbers: Sequence[int]) -> Sequence[int | None]:
        if 0 in numbers:
            connection.execute(insert(NUMBERS), [{"number": 1}, {"number": 1}])
        BATCHES.append(len(numbers))
        return [None if number > 0 else number for number in numbers]

    commits = GroupCommit(database, first=(judge,))
    commits.start()
    judged = [commits.write(judge, number) for number in (1, -2, 3)]
    results = await asyncio.gather(
        *(commits.write(keep, number, after=each) for number, each in zip((1, 2, 3), judged, strict=True)),
        return_exceptions=True,
    )
    assert (results[0], results[2]) == (10, 30)
    assert isinstance(results[1], asyncio.CancelledError)
    assert BATCHES == [3, 2], "one transaction, and the judge came first"
    late = await asyncio.gather(
        *(commits.write(keep, 4 + place, after=each) for place, each in enumerate(judged)), return_exceptions=True
    )
    assert [isinstance(result, BaseException) for result in late] == [False, True, False]
    failed = commits.write(judge, 0)
    after = commits.write(keep, 9, after=failed)
    results = await asyncio.gather(failed, after, return_exceptions=True)
    assert [type(result) for result in results] == [Conflict, asyncio.CancelledError]
    assert await kept(database) == [1, 3, 4, 6]
    await commits.aclose()


async def test_who_loses_patience_is_told_and_the_write_goes_on(
    database: Database, commits: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.core.db.group_commit._LOOK_SECONDS", 0.02)
    answers, in_one = asyncio.Event(), database.in_one
    told: list[tuple[int, Exception | None]] = []

    async def slow(*what: Any, **how: Any) -> Any:
        await answers.wait()
        return await in_one(*what, **how)

    monkeypatch.setattr(database, "in_one", slow)
    impatient = commits.write(keep, 1, patience=0.05, told=lambda *what: told.append(what))
    patient = commits.write(keep, 2, told=lambda *what: told.append(what))
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable):
            await impatient
        assert not patient.done()
        assert not told
        answers.set()
        assert await patient == 20
    assert told == [(10, None), (20, None)]
    assert await kept(database) == [1, 2]


async def test_a_write_is_told_of_its_failure_though_nobody_waits(commits: GroupCommit) -> None:
    told: list[tuple[object, Exception | None]] = []
    await commits.write(keep, 1)
    commits.write(keep, 1, told=lambda *what: told.append(what)).cancel()

    def fail(*_: object) -> None:
        raise RuntimeError("a bug of who is told")

    commits.write(keep, 2, told=fail)
    await commits.write(keep, 3)
    [(result, error)] = told
    assert result is None
    assert isinstance(error, Conflict)


async def test_the_shortest_linger_of_those_who_wait_counts(commits: GroupCommit) -> None:
    slow = commits.write(keep, 1, linger=60)
    quick = commits.write(keep, 2, linger=0.01)
    slower = commits.write(keep, 3, linger=60)
    async with asyncio.timeout(5):
        assert await asyncio.gather(slow, quick, slower) == [10, 20, 30]
    assert BATCHES == [3]


async def test_the_end_does_not_wait_for_ever_for_a_store(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("backend.core.db.group_commit._CLOSING_SECONDS", 0.05)
    monkeypatch.setattr(database, "in_one", never)
    commits = GroupCommit(database)
    commits.start()
    waiting = [commits.write(keep, 1)]
    await asyncio.sleep(0)
    waiting.append(commits.write(keep, 2))
    async with asyncio.timeout(5):
        await commits.aclose()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
