"""Writes exchanges: the same one again takes the place of the older, and beyond the cap the oldest go.

A plain function over a connection, called by `GroupCommit` with all that came together.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, delete, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from backend.features.memory.exchanges import Exchange
from backend.features.memory.models import Memory
from backend.features.memory.word_index import Whose, add_terms

_memories: Any = Memory.__table__


class MemoryWriter:
    """Keeps exchanges.

    Args:
        most: exchanges of one user with one agent.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def keep(self, connection: Connection, exchanges: Sequence[Exchange]) -> Sequence[None]:
        """Keep exchanges in their order."""
        for exchange in exchanges:
            whose = Whose(exchange.user_id, exchange.agent_id)
            digest = exchange.digest
            connection.execute(delete(_memories).where(_owned(whose), _memories.c.digest == digest))
            number = connection.execute(
                insert(_memories).returning(_memories.c.number), _row(exchange, digest)
            ).scalar()
            add_terms(connection, int(number or 0), whose, exchange.question, exchange.answer)
            self._prune(connection, whose)
        return [None] * len(exchanges)

    def _prune(self, connection: Connection, whose: Whose) -> None:
        newest = select(_memories.c.number).where(_owned(whose)).order_by(_memories.c.number.desc())
        oldest_kept = connection.execute(newest.offset(self._most - 1).limit(1)).scalar()
        if oldest_kept is not None:
            connection.execute(delete(_memories).where(_owned(whose), _memories.c.number < oldest_kept))


def _owned(whose: Whose) -> ColumnElement[bool]:
    return and_(_memories.c.user_id == whose.user_id, _memories.c.agent_id == whose.agent_id)


def _row(exchange: Exchange, digest: bytes) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(),
        "user_id": exchange.user_id,
        "agent_id": exchange.agent_id,
        "chat_id": exchange.chat_id,
        "question": exchange.question,
        "answer": exchange.answer,
        "digest": digest,
        "created_at": exchange.at,
    }
