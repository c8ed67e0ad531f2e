"""What the owner of chats can do with them: list, search, read, rename, remove, take along."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from backend.core.db.database import Database
from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import NotFound
from backend.core.ids import new_id
from backend.features.auth.context import CallContext
from backend.features.auth.principal import Permission, Principal
from backend.features.history.models import Chat, StoredMessage
from backend.features.history.repository import ChatRepository, SwitchRepository
from backend.features.history.switches import Switches
from backend.features.history.turns import keepable
from backend.features.history.upkeep import Upkeep
from backend.features.live.bus import LiveBus
from backend.features.live.events import Topic

LAST_MESSAGES = 100
"""Messages that come with a chat; the others come in pieces."""
_MANY = 5_000
_COUNT_SECONDS = 10.0
_EXPORT_PIECE = 50
"""Chats that are read at once while they are small together."""
_EXPORT_CHARACTERS = 2**21
"""What is written out from memory at once, about; one message may be longer."""
_EXPORT_MESSAGES = 500
_WIPE_SECONDS = 5.0


class Piece(NamedTuple):
    """Some messages of a chat that is taken along, in their order."""

    chat: Chat
    messages: Sequence[StoredMessage]
    is_last: bool
    """Whether the chat ends with them."""


Further = Callable[[Principal], AsyncIterator[bytes]]


class HistoryService:
    """The history of each account, for the account alone."""

    def __init__(
        self,
        database: Database,
        upkeep: Upkeep,
        switches: Switches,
        bus: LiveBus,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._upkeep = upkeep
        self._switches = switches
        self._bus = bus
        self._clock = clock
        self._chats = ChatRepository()
        self._subjects = SwitchRepository()
        self._counts: dict[uuid.UUID, tuple[float, int]] = {}
        self._further: Further = _nothing_further

    async def page(self, principal: Principal, query: PageQuery, wanted: str | None = None) -> Page[Chat]:
        """Return a piece of the caller's chats, the one used last first; those that hold `wanted`, if it is given."""
        user_id = _owner(principal)
        if wanted is not None:
            await self._upkeep.index()
            async with self._database.reading() as session:
                chats, total = await self._chats.search(session, user_id, wanted, query)
            return Page(chats, total, query.skip, query.limit)
        async with self._database.reading() as session:
            chats = await self._chats.page(session, user_id, query)
            if query.skip == 0 and len(chats) < query.limit:
                return Page(chats, len(chats), query.skip, query.limit)
            counted_at, total = self._counts.get(user_id, (float("-inf"), 0))
            if total < _MANY or self._clock() - counted_at > _COUNT_SECONDS:
                total = await self._chats.count(session, user_id)
                self._remember(user_id, total)
        return Page(chats, total, query.skip, query.limit)

    async def get(self, principal: Principal, chat_id: uuid.UUID) -> Chat:
        """Return a chat of the caller's; raise `NotFound` for any other."""
        async with self._database.reading() as session:
            return _there(await self._chats.get(session, _owner(principal), chat_id))

    async def read(
        self, principal: Principal, chat_id: uuid.UUID, last: int = LAST_MESSAGES
    ) -> tuple[Chat, Sequence[StoredMessage]]:
        """Return a chat of the caller's and its last messages."""
        async with self._database.reading() as session:
            chat = _there(await self._chats.get(session, _owner(principal), chat_id))
            return chat, await self._chats.latest(session, chat_id, last)

    async def messages(self, principal: Principal, chat_id: uuid.UUID, query: PageQuery) -> Page[StoredMessage]:
        """Return a piece of a chat's messages, in their order."""
        async with self._database.reading() as session:
            _there(await self._chats.get(session, _owner(principal), chat_id))
            found, total = await self._chats.messages(session, chat_id, query)
        return Page(found, total, query.skip, query.limit)

    async def message(self, chat_id: uuid.UUID, message_id: uuid.UUID) -> StoredMessage | None:
        """Return one message of a chat whose owner asks for it."""
        async with self._database.reading() as session:
            return await self._chats.message(session, chat_id, message_id)

    async def sourced(self, principal: Principal, message_id: uuid.UUID) -> StoredMessage:
        """Return a message of a chat of the caller's; raise `NotFound` for any other."""
        async with self._database.reading() as session:
            message = await self._chats.own_message(session, _owner(principal), message_id)
        if message is None:
            raise NotFound("there is no such message")
        return message

    async def may_read(self, principal: Principal, chat_id: uuid.UUID) -> bool:
        """Whether a caller may follow a chat: it is theirs."""
        if principal.user_id is None:
            return False
        async with self._database.reading() as session:
            return await self._chats.get(session, principal.user_id, chat_id) is not None

    async def find(self, context: CallContext) -> uuid.UUID | None:
        """Return the chat of the caller's that a request continues, as far as it says so itself."""
        user_id = context.principal.user_id
        if context.chat_id is not None or user_id is None or not context.conversation:
            return context.chat_id
        async with self._database.reading() as session:
            return await self._chats.named(session, user_id, context.conversation)

    async def create(
        self, principal: Principal, title: str, model: str = "", agent_id: uuid.UUID | None = None
    ) -> Chat:
        """Make an empty chat."""
        now = utc_now()
        chat = Chat(
            id=new_id(),
            user_id=_owner(principal),
            title=keepable(title),
            model=keepable(model),
            agent_id=agent_id,
            created_at=now,
            updated_at=now,
        )
        async with self._database.transaction() as session:
            session.add(chat)
        self._upkeep.changed()
        return chat

    async def rename(self, principal: Principal, chat_id: uuid.UUID, title: str) -> Chat:
        """Call a chat of the caller's something else."""
        async with self._database.transaction() as session:
            if not await self._chats.rename(session, _owner(principal), chat_id, keepable(title)):
                raise NotFound(_NO_CHAT)
        self._upkeep.changed()
        return await self.get(principal, chat_id)

    async def remove(self, principal: Principal, chat_id: uuid.UUID) -> None:
        """Remove a chat of the caller's with everything in it."""
        async with self._database.transaction() as session:
            if not await self._chats.remove(session, _owner(principal), chat_id):
                raise NotFound(_NO_CHAT)
        self._counts.pop(_owner(principal), None)
        self._bus.evict(Topic.chat(chat_id))

    async def remove_all(self, principal: Principal) -> None:
        """Remove all chats of the caller's, off the disk too; a large index is wiped by `Upkeep` in its own time."""
        async with self._database.transaction() as session:
            await self._chats.remove(session, _owner(principal))
        self._counts.pop(_owner(principal), None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WIPE_SECONDS):
                await self._upkeep.compact()

    async def export(self, principal: Principal) -> AsyncIterator[Piece]:
        """Yield all chats of the caller's, the newest made first; never much more than fits in memory at a time."""
        before: int | None = None
        while True:
            async with self._database.reading() as session:
                chats = await self._chats.numbers(session, _owner(principal), before, _EXPORT_PIECE)
                ids = [chat.id for chat in chats]
                messages, characters = await self._chats.size(session, ids)
                is_small = messages <= _EXPORT_MESSAGES and characters <= _EXPORT_CHARACTERS
                found = await self._chats.all_messages(session, ids) if is_small else ()
            of_chat: dict[uuid.UUID, list[StoredMessage]] = {chat_id: [] for chat_id in ids}
            for message in found:
                of_chat[message.chat_id].append(message)
            for chat in chats:
                if is_small:
                    yield Piece(chat, of_chat[chat.id], is_last=True)
                else:
                    async for piece in self.export_one(chat):
                        yield piece
            if not chats:
                return
            before = chats[-1].number

    async def export_one(self, chat: Chat) -> AsyncIterator[Piece]:
        """Yield a chat of the caller's with all its messages, some at a time."""
        after, is_last = 0, False
        while not is_last:
            async with self._database.reading() as session:
                found, is_last = await self._chats.next_messages(session, chat.id, after, _EXPORT_CHARACTERS)
            yield Piece(chat, found, is_last)
            after = found[-1].seq if found else after

    def also_export(self, further: "Further") -> None:
        """Let people take something more along than their chats."""
        self._further = further

    def further(self, principal: Principal) -> AsyncIterator[bytes]:
        """Yield what comes after the chats, as lines of JSON."""
        return self._further(principal)

    async def keeps(self, principal: Principal, kind: str, subject_id: uuid.UUID) -> bool:
        """Whether conversations with a key or agent of the caller's are kept."""
        principal.require(_RIGHTS[kind])
        async with self._database.reading() as session:
            if not await self._subjects.owns(session, _owner(principal), kind, subject_id):
                raise NotFound(f"there is no such {kind}")
            return subject_id not in await self._subjects.everything(session)

    async def switch(self, principal: Principal, kind: str, subject_id: uuid.UUID, *, keep: bool) -> None:
        """Say whether conversations with a key or agent of the caller's are kept; counts at once in this process."""
        principal.require(_RIGHTS[kind])
        async with self._database.transaction() as session:
            if not await self._subjects.owns(session, _owner(principal), kind, subject_id):
                raise NotFound(f"there is no such {kind}")
            await self._subjects.put(session, kind, subject_id, off=not keep)
        await self.read_switches()

    async def read_switches(self) -> None:
        """Read all switches anew."""
        async with self._database.reading() as session:
            self._switches.read(await self._subjects.everything(session))

    def _remember(self, user_id: uuid.UUID, total: int) -> None:
        if len(self._counts) > _MANY:
            self._counts.clear()
        self._counts[user_id] = (self._clock(), total)


_RIGHTS = {"key": Permission.WRITE_KEYS, "agent": Permission.WRITE_AGENTS}
_NO_CHAT = "there is no such chat"


async def _nothing_further(_principal: Principal) -> AsyncIterator[bytes]:
    nothing: Sequence[bytes] = ()
    for line in nothing:
        yield line


def _owner(principal: Principal) -> uuid.UUID:
    if principal.user_id is None:
        raise NotFound("a history belongs to an account: log in, or send a key of your account")
    return principal.user_id


def _there(chat: Chat | None) -> Chat:
    if chat is None:
        raise NotFound(_NO_CHAT)
    return chat
