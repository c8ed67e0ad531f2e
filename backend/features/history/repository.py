"""The queries behind the routes; each takes the account, so that what is not theirs is not found."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Integer,
    Select,
    Text,
    Uuid,
    cast,
    column,
    delete,
    func,
    literal,
    or_,
    select,
    table,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.pages import PageQuery
from backend.features.history.models import Chat, HistorySwitch, StoredMessage
from backend.features.history.search import MAX_FOUND, postgresql_document, postgresql_query, sqlite_query

_keys = table("api_keys", column("id", Uuid()), column("user_id", Uuid()))
_agents = table("agents", column("id", Uuid()), column("owner_id", Uuid()))
_COLUMNS = (StoredMessage.content, StoredMessage.thinking, StoredMessage.tool_calls, StoredMessage.sources)
_CHARACTERS = sum((func.length(cast(one, Text)) for one in _COLUMNS), start=literal(0))
"""Of everything in a message that may be long."""
_MOST_AT_ONCE = 200
_SUBJECTS = {"key": (_keys, _keys.c.user_id), "agent": (_agents, _agents.c.owner_id)}


class ChatRepository:
    """Finds, lists and changes the chats of one account at a time."""

    async def get(self, session: AsyncSession, user_id: uuid.UUID, chat_id: uuid.UUID) -> Chat | None:
        """Return a chat of the account, or None."""
        found: Chat | None = await session.scalar(select(Chat).where(Chat.id == chat_id, Chat.user_id == user_id))
        return found

    async def named(self, session: AsyncSession, user_id: uuid.UUID, external_id: str) -> uuid.UUID | None:
        """Return the chat of the account that its client calls so, or None."""
        wanted = select(Chat.id).where(Chat.user_id == user_id, Chat.external_id == external_id)
        found: uuid.UUID | None = await session.scalar(wanted)
        return found

    async def page(self, session: AsyncSession, user_id: uuid.UUID, query: PageQuery) -> Sequence[Chat]:
        """Return chats, the one that was used last first."""
        return (await session.scalars(_newest(user_id).offset(query.skip).limit(query.limit))).all()

    async def count(self, session: AsyncSession, user_id: uuid.UUID) -> int:
        """Return how many chats the account has; reads an index from end to end."""
        return await session.scalar(select(func.count()).where(Chat.user_id == user_id)) or 0

    async def search(
        self, session: AsyncSession, user_id: uuid.UUID, wanted: str, query: PageQuery
    ) -> tuple[Sequence[Chat], int]:
        """Return a piece of the chats that hold words, and how many do."""
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        found = _in_sqlite(user_id, wanted) if is_sqlite else _in_postgresql(user_id, wanted)
        if found is None:
            return [], 0
        total = await session.scalar(select(func.count()).select_from(found.order_by(None).subquery())) or 0
        return (await session.scalars(found.offset(query.skip).limit(query.limit))).all(), total

    async def remove(self, session: AsyncSession, user_id: uuid.UUID, chat_id: uuid.UUID | None = None) -> int:
        """Remove a chat of the account, or all of them; return how many there were."""
        gone = delete(Chat).where(Chat.user_id == user_id)
        done = await session.execute(gone if chat_id is None else gone.where(Chat.id == chat_id))
        return _count(done)

    async def rename(self, session: AsyncSession, user_id: uuid.UUID, chat_id: uuid.UUID, title: str) -> bool:
        """Call a chat of the account something else; return whether it is there."""
        change = update(Chat).where(Chat.user_id == user_id, Chat.id == chat_id).values(title=title)
        return bool(_count(await session.execute(change)))

    async def messages(
        self, session: AsyncSession, chat_id: uuid.UUID, query: PageQuery
    ) -> tuple[Sequence[StoredMessage], int]:
        """Return a piece of a chat's messages in their order, and how many there are."""
        of_chat = select(StoredMessage).where(StoredMessage.chat_id == chat_id)
        rows = await session.scalars(of_chat.order_by(StoredMessage.seq).offset(query.skip).limit(query.limit))
        total = await session.scalar(select(func.count()).where(StoredMessage.chat_id == chat_id))
        return rows.all(), total or 0

    async def latest(self, session: AsyncSession, chat_id: uuid.UUID, limit: int) -> Sequence[StoredMessage]:
        """Return a chat's last messages, in their order."""
        of_chat = select(StoredMessage).where(StoredMessage.chat_id == chat_id)
        rows = await session.scalars(of_chat.order_by(StoredMessage.seq.desc()).limit(limit))
        return rows.all()[::-1]

    async def message(self, session: AsyncSession, chat_id: uuid.UUID, message_id: uuid.UUID) -> StoredMessage | None:
        """Return one message of a chat, looked for from its end."""
        wanted = select(StoredMessage).where(StoredMessage.chat_id == chat_id, StoredMessage.id == message_id)
        found: StoredMessage | None = await session.scalar(wanted.order_by(StoredMessage.seq.desc()).limit(1))
        return found

    async def own_message(
        self, session: AsyncSession, user_id: uuid.UUID, message_id: uuid.UUID
    ) -> StoredMessage | None:
        """Return a message of the account's chats, or None."""
        wanted = select(StoredMessage).where(StoredMessage.id == message_id, StoredMessage.user_id == user_id)
        found: StoredMessage | None = await session.scalar(wanted.limit(1))
        return found

    async def numbers(
        self, session: AsyncSession, user_id: uuid.UUID, before: int | None, limit: int
    ) -> Sequence[Chat]:
        """Return chats from the newest made down, those numbered below `before`."""
        wanted = select(Chat).where(Chat.user_id == user_id)
        wanted = wanted if before is None else wanted.where(Chat.number < before)
        return (await session.scalars(wanted.order_by(Chat.number.desc()).limit(limit))).all()

    async def size(self, session: AsyncSession, chats: Sequence[uuid.UUID]) -> tuple[int, int]:
        """Return how many messages some chats have together, and how many characters these."""
        wanted = select(func.count(), func.coalesce(func.sum(_CHARACTERS), 0))
        messages, characters = (await session.execute(wanted.where(StoredMessage.chat_id.in_(chats)))).one()
        return messages, characters

    async def next_messages(
        self, session: AsyncSession, chat_id: uuid.UUID, after: int, characters: int
    ) -> tuple[Sequence[StoredMessage], bool]:
        """Return a chat's messages after a sequence number, up to so many characters, and whether those are the last.

        There is at least one, if there are any.
        """
        of_chat = (StoredMessage.chat_id == chat_id, StoredMessage.seq > after)
        wanted = select(StoredMessage.seq, _CHARACTERS).where(*of_chat).order_by(StoredMessage.seq).limit(_MOST_AT_ONCE)
        sizes = (await session.execute(wanted)).all()
        taken, total = 0, 0
        for _, size in sizes:
            total += size
            if taken and total > characters:
                break
            taken += 1
        if not taken:
            return [], True
        found = select(StoredMessage).where(*of_chat, StoredMessage.seq <= sizes[taken - 1][0])
        rows = (await session.scalars(found.order_by(StoredMessage.seq))).all()
        return rows, taken == len(sizes) < _MOST_AT_ONCE

    async def all_messages(self, session: AsyncSession, chats: Sequence[uuid.UUID]) -> Sequence[StoredMessage]:
        """Return the messages of some chats, by chat and in their order."""
        wanted = select(StoredMessage).where(StoredMessage.chat_id.in_(chats))
        return (await session.scalars(wanted.order_by(StoredMessage.chat_id, StoredMessage.seq))).all()


class SwitchRepository:
    """Finds and changes the switches of keys and agents."""

    async def everything(self, session: AsyncSession) -> Sequence[uuid.UUID]:
        """Return all keys and agents whose conversations are not kept."""
        return (await session.scalars(select(HistorySwitch.subject_id))).all()

    async def owns(self, session: AsyncSession, user_id: uuid.UUID, kind: str, subject_id: uuid.UUID) -> bool:
        """Whether a key or an agent is the account's."""
        subjects, owner = _SUBJECTS[kind]
        found = await session.scalar(select(func.count()).where(subjects.c.id == subject_id, owner == user_id))
        return bool(found)

    async def put(self, session: AsyncSession, kind: str, subject_id: uuid.UUID, *, off: bool) -> None:
        """Switch the history of a key or agent off or on."""
        await session.execute(delete(HistorySwitch).where(HistorySwitch.subject_id == subject_id))
        if off:
            session.add(HistorySwitch(subject_id=subject_id, kind=kind))


def _newest(user_id: uuid.UUID) -> Select[Any]:
    return select(Chat).where(Chat.user_id == user_id).order_by(Chat.updated_at.desc(), Chat.number.desc())


def _in_sqlite(user_id: uuid.UUID, wanted: str) -> Select[Any] | None:
    query = sqlite_query(user_id, wanted)
    if query is None:
        return None

    def hits(which: str) -> Any:
        of_index = "SELECT rowid AS number FROM history_search WHERE history_search MATCH :query"
        found = text(f"{of_index} AND {which} LIMIT {MAX_FOUND}")
        return found.bindparams(query=query).columns(column("number", Integer)).subquery()

    titles, messages = hits("rowid < 0 ORDER BY rowid"), hits("rowid > 0 ORDER BY rowid DESC")
    of_messages = select(StoredMessage.chat_id).where(StoredMessage.number.in_(select(messages.c.number)))
    return _newest(user_id).where(or_(Chat.number.in_(select(-titles.c.number)), Chat.id.in_(of_messages)))


def _in_postgresql(user_id: uuid.UUID, wanted: str) -> Select[Any] | None:
    query = postgresql_query(wanted)
    if query is None:
        return None

    def holds(name: str) -> Any:
        return text(f"{postgresql_document(name)} @@ to_tsquery('simple', :query)").bindparams(query=query)

    found = select(StoredMessage.chat_id).where(StoredMessage.user_id == user_id, holds("messages.content"))
    of_messages = found.order_by(StoredMessage.number.desc()).limit(MAX_FOUND)
    return _newest(user_id).where(or_(holds("chats.title"), Chat.id.in_(of_messages)))


def _count(done: Any) -> int:
    return int(done.rowcount)


def older_than(moment: datetime, limit: int) -> Select[Any]:
    """Return the statement for chats nobody has used since a moment."""
    return select(Chat.id).where(Chat.updated_at < moment).limit(limit)
