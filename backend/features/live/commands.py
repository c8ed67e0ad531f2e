"""What a socket may ask for: each event with the policy that it needs, and what is done.

Every event is answered with `{"ok": true}` or with `{"error": <one sentence>}`.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from backend.core.errors import GatewayError, InvalidRequest, NotFound, NotPermitted, Unprocessable
from backend.core.logging import get_logger
from backend.features.auth.service import Authenticator
from backend.features.live.bus import Feed, LiveBus
from backend.features.live.credentials import owner_of, scope_with_token
from backend.features.live.events import ChatReader, LiveEvent
from backend.features.live.members import MOST_CHATS, Member, Members

_NO_SUCH_CHAT = "there is no such chat, or you may not read it"
_UUID_LENGTH = 36
_MOST_LOOKS = 3
_log = get_logger(__name__)
Fields = Mapping[str, Any]


class SocketPolicy(StrEnum):
    """Who may send an event; connecting has asked for an account already."""

    ACCOUNTS = "accounts"
    READERS = "readers of the chat"
    MEMBERS = "members of the chat's room"


class Rooms(Protocol):
    """Where sockets are grouped by the chats that they listen to."""

    async def enter(self, sid: str, chat_id: uuid.UUID) -> None:
        """Put a socket into the room of a chat."""
        ...

    async def leave(self, sid: str, chat_id: uuid.UUID) -> None:
        """Take it out again."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """What happens on an event, and who may send it."""

    policy: SocketPolicy
    run: Callable[["Commands", Member, Fields], Awaitable[None]]


class Commands:
    """Does what sockets ask for.

    Args:
        members: who is connected.
        rooms: where they are grouped.
        feed: hears of the chats that somebody here listens to.
        bus: tells of typing.
        reader: knows who may read which chat.
        authenticator: knows whose a credential is.
        track: lets a socket be cut when its present credential ends.
    """

    def __init__(
        self,
        members: Members,
        rooms: Rooms,
        feed: Feed,
        bus: LiveBus,
        reader: ChatReader,
        authenticator: Authenticator,
        track: Callable[[Member], None],
    ) -> None:
        self._members = members
        self._rooms = rooms
        self._feed = feed
        self._bus = bus
        self._reader = reader
        self._authenticator = authenticator
        self._track = track
        self._evictions = 0

    async def answer(self, name: str, sid: str, sent: object = None, *_more: object) -> dict[str, object]:
        """Do what an event of `EVENTS` asks for and return its answer."""
        try:
            await self._do(EVENTS[name], sid, sent)
        except GatewayError as error:
            return {"error": error.message}
        except Exception:  # noqa: BLE001 (a bug in one event is not the end of the socket)
            _log.exception("socket_event_failed_unexpectedly", name=name)
            return {"error": "internal error; try again, or tell the gateway's operator"}
        return {"ok": True}

    async def _do(self, command: Command, sid: str, sent: object) -> None:
        member = self._members.find(sid)
        if member is None:
            raise NotPermitted("connect before you send anything")
        if not isinstance(sent, dict):
            raise InvalidRequest("an event carries one object with its fields")
        if command.policy is SocketPolicy.READERS:
            await self._require_reader(member, chat_id_of(sent))
        elif command.policy is SocketPolicy.MEMBERS and chat_id_of(sent) not in member.chats:
            raise NotPermitted("join the chat first")
        await command.run(self, member, sent)

    async def _require_reader(self, member: Member, chat_id: uuid.UUID) -> None:
        """Raise `NotFound` unless somebody may read a chat, and still may once that is known."""
        for _ in range(_MOST_LOOKS):
            evictions = self._evictions
            if not await self._reader.may_read(member.principal, chat_id):
                break
            if self._members.find(member.sid) is not member:
                break
            if evictions == self._evictions:
                return
        raise NotFound(_NO_SUCH_CHAT)

    async def join(self, member: Member, sent: Fields) -> None:
        """Let a socket listen to a chat that its user may read."""
        chat_id = chat_id_of(sent)
        if chat_id in member.chats:
            return
        if len(member.chats) >= MOST_CHATS:
            raise Unprocessable(f"a connection listens to {MOST_CHATS} chats at most; leave one first")
        self._members.join(member, chat_id)
        self._feed.watch(chat_id)
        await self._rooms.enter(member.sid, chat_id)

    async def leave(self, member: Member, sent: Fields) -> None:
        """Let a socket listen to a chat no longer, whether it did or not."""
        await self._put_out(member, chat_id_of(sent))

    async def tell_typing(self, member: Member, sent: Fields) -> None:
        """Tell the others in a room that somebody is typing; who that is comes from their credential."""
        is_typing = sent.get("is_typing")
        if not isinstance(is_typing, bool):
            raise InvalidRequest("is_typing must be true or false")
        typist = {"user_id": str(member.user_id), "trigramme": member.principal.trigramme}
        data = {**typist, "is_typing": is_typing}
        self._bus.publish(LiveEvent(chat_id_of(sent), "typing", data, origin=member.sid))

    async def renew(self, member: Member, sent: Fields) -> None:
        """Go on with a new credential of the same user, before the old one expires."""
        scope = scope_with_token(member.scope, sent.get("token"))
        principal = await self._authenticator.authenticate(scope)
        if owner_of(principal) != member.user_id:
            raise NotPermitted("this credential is another user's; connect anew with it")
        if self._members.find(member.sid) is member:  # else it was closed meanwhile
            member.scope, member.principal = scope, principal
            self._track(member)

    async def look_again(self, chat_id: uuid.UUID) -> list[Member]:
        """Put out who may not read a chat any more and return them; whoever cannot be asked about is put out, too."""
        self._evictions += 1
        return [one for one in self._members.in_chat(chat_id) if not await self._stays(one, chat_id, is_sure=False)]

    async def look_over(self, member: Member) -> list[uuid.UUID]:
        """Put a socket out of the chats that its user may not read any more, and return those."""
        return [chat_id for chat_id in tuple(member.chats) if not await self._stays(member, chat_id, is_sure=True)]

    def forget(self, sid: str) -> Member | None:
        """Forget a socket that is gone."""
        member = self._members.find(sid)
        chats = () if member is None else tuple(member.chats)
        self._members.remove(sid)
        for chat_id in chats:
            self._stop_hearing(chat_id)
        return member

    async def _stays(self, member: Member, chat_id: uuid.UUID, *, is_sure: bool) -> bool:
        try:
            may_read = await self._reader.may_read(member.principal, chat_id)
        except GatewayError:
            may_read = is_sure
        if not may_read:
            await self._put_out(member, chat_id)
        return may_read

    async def _put_out(self, member: Member, chat_id: uuid.UUID) -> None:
        self._members.leave(member, chat_id)
        self._stop_hearing(chat_id)
        await self._rooms.leave(member.sid, chat_id)

    def _stop_hearing(self, chat_id: uuid.UUID) -> None:
        if not self._members.in_chat(chat_id):
            self._feed.leave(chat_id)


EVENTS: Mapping[str, Command] = {
    "join_chat": Command(SocketPolicy.READERS, Commands.join),
    "leave_chat": Command(SocketPolicy.ACCOUNTS, Commands.leave),
    "typing": Command(SocketPolicy.MEMBERS, Commands.tell_typing),
    "renew": Command(SocketPolicy.ACCOUNTS, Commands.renew),
}
"""Every event that is not refused."""


def chat_id_of(sent: Fields) -> uuid.UUID:
    """Return the chat that an event is about; raise `InvalidRequest` when it names none."""
    text = sent.get("chat_id")
    if isinstance(text, str) and len(text) == _UUID_LENGTH:
        try:
            return uuid.UUID(text)
        except ValueError:
            pass
    raise InvalidRequest("chat_id must be the id of a chat")
