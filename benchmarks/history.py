"""What keeping conversations costs: CPU per request beside nothing, and per list of chats among very many.

The code of the gateway runs here, in this process, on a SQLite file of its own; no client and no upstream takes part.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from report import Row
from servers import HERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backend.core.db.database import Database

CHATS = 100_000
PIECE = 50
LISTS = 40
ROUNDS = 60
BATCHES = (1, 20)
MAX_LIST_MS = 10.0
MAX_REQUEST_MS = 0.3
QUESTION = "Which train goes to Paris in the morning, and what does a ticket cost when it is bought today? "
ANSWER = "There are several, and prices change by the hour; the first leaves before six. " * 5


def measure_history(folder: Path) -> list[Row]:
    """Measures on a file in this folder."""
    sys.path.insert(0, str(HERE.parent))
    own = folder / "history"
    own.mkdir()
    return asyncio.run(_measure(own))


async def _measure(folder: Path) -> list[Row]:
    from backend.bootstrap.migrations import migrate  # noqa: PLC0415 (found only once the path is set)
    from backend.core.db.database import Database, database_url  # noqa: PLC0415 (see above)

    database = Database(database_url(None, folder))
    try:
        await migrate(database)
        user_id = await _fill(database)
        return [*[await _request_row(database, user_id, size) for size in BATCHES], await _list_row(database, user_id)]
    finally:
        await database.aclose()


async def _fill(database: Database) -> uuid.UUID:
    """Makes an account with its chats, and returns it."""
    from backend.features.accounts.models import Role, User  # noqa: PLC0415 (see above)
    from backend.features.history.models import Chat  # noqa: PLC0415 (see above)

    user_id, role_id, now = uuid.uuid4(), uuid.uuid4(), datetime.now(UTC)
    async with database.transaction() as session:
        session.add(Role(id=role_id, name="bench"))
        await session.flush()
        session.add(User(id=user_id, email="bench@example.org", trigramme="ben", role_id=role_id))
    for start in range(0, CHATS, 5_000):
        at = now - timedelta(minutes=CHATS - start)
        rows = [
            {"id": uuid.uuid4(), "user_id": user_id, "title": f"chat {n}", "created_at": at, "updated_at": at}
            for n in range(start, start + 5_000)
        ]
        await database.in_one(lambda connection, rows=rows: connection.execute(Chat.__table__.insert(), rows) and None)
    return user_id


async def _list_row(database: Database, user_id: uuid.UUID) -> Row:
    from backend.bootstrap.history import open_history  # noqa: PLC0415 (see above)
    from backend.core.config import load_settings  # noqa: PLC0415 (see above)
    from backend.core.db.group_commit import GroupCommit  # noqa: PLC0415 (see above)
    from backend.core.db.pages import PageQuery  # noqa: PLC0415 (see above)
    from backend.features.auth.principal import Principal  # noqa: PLC0415 (see above)
    from backend.features.live.bus import MemoryBus  # noqa: PLC0415 (see above)

    principal, costs = Principal("bench", user_id=user_id), list[float]()
    async with open_history(load_settings(None), database, GroupCommit(database), MemoryBus()) as history:
        for _ in range(LISTS):
            began = time.process_time()
            page = await history.service.page(principal, PageQuery(limit=PIECE))
            costs.append((time.process_time() - began) * 1e3)
    fault = "" if len(page.items) == PIECE and page.total >= CHATS else "the list is not whole"
    return _row(f"CPU to list 50 of {CHATS:,} chats", median(costs), MAX_LIST_MS, fault)


async def _request_row(database: Database, user_id: uuid.UUID, size: int) -> Row:
    from backend.features.history.placing import Opening  # noqa: PLC0415 (see above)
    from backend.features.history.recorder import answer_values  # noqa: PLC0415 (see above)
    from backend.features.history.turns import read_conversation  # noqa: PLC0415 (see above)
    from backend.features.history.writing import Closing, HistoryWriter  # noqa: PLC0415 (see above)
    from backend.llm.types import Message, TextPart  # noqa: PLC0415 (see above)

    def ask(number: int) -> Opening:
        said = (Message("user", (TextPart(f"{QUESTION}{size} {number}"),)),)
        return Opening(user_id, read_conversation(user_id, said), "model", datetime.now(UTC), uuid.uuid4())

    writer, costs = HistoryWriter(), list[float]()
    values = answer_values("complete", content=ANSWER, llm_model="model", llm_provider="mistral")
    for round_number in range(ROUNDS):
        began = time.process_time()
        asked = [ask(round_number * size + number) for number in range(size)]
        opened = await database.in_one(lambda connection, asked=asked: writer.open(connection, asked))
        pairs = zip(opened, asked, strict=True)
        ends: Sequence[Closing] = [
            Closing(o, datetime.now(UTC), a.conversation.fingerprint.add("assistant", ANSWER).digest(), values)
            for o, a in pairs
        ]
        await database.in_one(lambda connection, ends=ends: writer.close(connection, ends))
        costs.append((time.process_time() - began) * 1e3 / size)
    together = "alone" if size == 1 else f"{size} at a time"
    return _row(f"CPU per request to keep its conversation, {together}", median(costs), MAX_REQUEST_MS)


def _row(measure: str, cost_ms: float, limit: float, fault: str = "") -> Row:
    return Row(
        measure=measure,
        baseline="nothing kept: 0 ms",
        gateway=f"{cost_ms:.3f} ms",
        result=f"{cost_ms:+.3f} ms",
        value=cost_ms,
        limit=limit,
        goal=f"<= {limit:g} ms",
        fault=fault,
    )
