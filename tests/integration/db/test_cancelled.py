"""Who is cancelled in the middle of a transaction on SQLite leaves no lock, no task and no word in the log."""

import asyncio
import logging
import random
from pathlib import Path

import pytest
from sqlalchemy import text

from backend.core.db.database import Database, database_url

ROUNDS = 150


async def write(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("update numbers set number = number + 1"))
        await session.execute(text("select number from numbers"))


async def read(database: Database) -> None:
    async with database.reading() as session:
        await session.execute(text("select number from numbers"))


async def test_a_cancelled_transaction_keeps_nobody_from_writing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    drawn, database = random.Random(0), Database(database_url(None, tmp_path))  # noqa: S311 (moments, no secret)
    async with database.transaction() as session:
        await session.execute(text("create table numbers (number integer)"))
        await session.execute(text("insert into numbers values (0)"))
    async with asyncio.timeout(50):
        for _ in range(ROUNDS):
            tasks = [asyncio.create_task(work(database)) for work in (write, read, write)]
            await asyncio.sleep(drawn.random() * 0.01)
            for task in tasks:
                task.cancel()
            _, waiting = await asyncio.wait(tasks, timeout=5)
            assert not waiting
            async with asyncio.timeout(5):
                await write(database)
        await database.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("sqlalchemy")]


async def test_who_is_cancelled_while_it_is_committed_is_told_afterwards(tmp_path: Path) -> None:
    database = Database(database_url(None, tmp_path))
    async with database.transaction() as session:
        await session.execute(text("create table numbers (number integer)"))
    entered = asyncio.Event()

    async def add() -> None:
        async with database.transaction() as session:
            await session.execute(text("insert into numbers values (1)"))
            entered.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(add())
    async with asyncio.timeout(10):
        await entered.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.reading() as session:
            assert (await session.execute(text("select count(*) from numbers"))).scalar() in (0, 1)
        await database.aclose()
