"""Keeps replies for a day: a request with an `Idempotency-Key` has one effect however often it comes."""

import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from backend.core.db.database import Database
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, InvalidRequest, Unprocessable
from backend.features.history.models import KeptReply
from backend.features.history.reply_repository import ReplyRepository

_VALID = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply and the chat it tells of; it goes when the chat goes."""

    body: bytes
    chat_id: uuid.UUID


class Replies:
    """Gives replies again.

    Args:
        database: where they are.
        longest_answer: after which a request without a reply belongs to a process that died.
    """

    def __init__(self, database: Database, longest_answer: timedelta) -> None:
        self._database = database
        self._longest_answer = longest_answer
        self._rows = ReplyRepository()

    async def once(self, user_id: uuid.UUID, key: str, raw: bytes, act: Callable[[], Awaitable[Reply]]) -> bytes:
        """Return the reply to a request: made now, or the one that was made.

        Raises `Conflict` while it is being made, `Unprocessable` when the key came with another body before. A request
        that fails may be sent again.
        """
        if not _VALID.fullmatch(key):
            raise InvalidRequest("an Idempotency-Key is 1 to 255 printable ASCII characters without spaces")
        digest = hashlib.sha256(raw).digest()
        kept = await self._begin(user_id, key, digest)
        if kept is not None:
            return kept
        try:
            reply = await act()
        except BaseException:
            async with self._database.transaction() as session:
                await self._rows.remove(session, user_id, key)
            raise
        async with self._database.transaction() as session:
            await self._rows.finish(session, user_id, key, reply.body.decode(), reply.chat_id)
        return reply.body

    async def _begin(self, user_id: uuid.UUID, key: str, digest: bytes) -> bytes | None:
        running = "a request with this Idempotency-Key is being answered; wait for its reply"
        try:
            async with self._database.transaction() as session:
                row = await self._rows.get(session, user_id, key)
                if row is not None and not self._is_over(row):
                    return _replayed(row, digest, running)
                await self._rows.remove(session, user_id, key)
                session.add(KeptReply(user_id=user_id, idempotency_key=key, request_hash=digest))
        except Conflict:
            raise Conflict(running) from None
        return None

    def _is_over(self, row: KeptReply) -> bool:
        age = utc_now() - row.created_at
        return age > _KEPT or (row.reply is None and age > self._longest_answer)


def _replayed(row: KeptReply, digest: bytes, running: str) -> bytes:
    if row.request_hash != digest:
        raise Unprocessable("this Idempotency-Key was used with another body; choose a new one")
    if row.reply is None:
        raise Conflict(running)
    return row.reply.encode()
