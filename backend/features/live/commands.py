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
from backend.features.live.events import Kind, LiveEvent, Readers, Topic
from backend.features.live.members import MOST_TOPICS, Member, Members

_UUID_LENGTH = 36
_MOST_LOOKS = 3
_log = get_logger(__name__)
Fields = Mapping[str, Any]


class SocketPolicy(StrEnum):
    """Who may send an event; connecting has asked for an account already."""

    ACCOUNTS = "accounts"
    READERS = "readers of the topic"
    MEMBERS = "members of the chat's room"


class Rooms(Protocol):
    """Where sockets are grouped by the topics that they listen to."""

    async def enter(self, sid: str, topic: Topic) -> None:
        """Put a socket into the room of a topic."""
        ...

    async def leave(self, sid: str, topic: Topic) -> None:
        """Take it out again."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """What happens on an event about the socket itself, and who may send it."""

    policy: SocketPolicy
    run: Callable[["Commands", Member, Fields], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TopicCommand:
    """What happens on an event about a topic of one kind, and who may send it."""

    policy: SocketPolicy
    kind: Kind
    run: Callable[["Commands", Member, Topic, Fields], Awaitable[None]]


class Commands:
    """Does what sockets ask for.

    Args:
        members: who is connected.
        rooms: where they are grouped.
        feed: hears of the topics that somebody here listens to.
        bus: tells of typing.
        readers: know who may read what.
        authenticator: knows whose a credential is.
        track: lets a socket be cut when its present credential ends.
    """

    def __init__(
        self,
        members: Members,
        rooms: Rooms,
        feed: Feed,
        bus: LiveBus,
        readers: Readers,
        authenticator: Authenticator,
        track: Callable[[Member], None],
    ) -> None:
        self._members = members
        self._rooms = rooms
        self._feed = feed
        self._bus = bus
        self._readers = readers
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

    async def _do(self, command: Command | TopicCommand, sid: str, sent: object) -> None:
        member = self._members.find(sid)
        if member is None:
            raise NotPermitted("connect before you send anything")
        if not isinstance(sent, dict):
            raise InvalidRequest("an event carries one object with its fields")
        if isinstance(command, Command):
            await command.run(self, member, sent)
            return
        topic = topic_of(command.kind, sent)
        if command.policy is SocketPolicy.READERS:
            await self._require_reader(member, topic)
        elif command.policy is SocketPolicy.MEMBERS and topic not in member.topics:
            raise NotPermitted(f"join the {topic.kind} first")
        await command.run(self, member, topic, sent)

    async def _require_reader(self, member: Member, topic: Topic) -> None:
        """Raise `NotFound` unless somebody may read a topic, and still may once that is known."""
        for _ in range(_MOST_LOOKS):
            evictions = self._evictions
            if not await self._may_read(member, topic):
                break
            if self._members.find(member.sid) is not member:
                break
            if evictions == self._evictions:
                return
        raise NotFound(f"there is no such {topic.kind}, or you may not read it")

    async def join(self, member: Member, topic: Topic, _sent: Fields) -> None:
        """Let a socket listen to what its user may read."""
        if topic in member.topics:
            return
        if len(member.topics) >= MOST_TOPICS:
            most = f"{MOST_TOPICS} chats, documents and collections at most"
            raise Unprocessable(f"a connection listens to {most}; leave one first")
        self._members.join(member, topic)
        self._feed.watch(topic)
        await self._rooms.enter(member.sid, topic)

    async def leave(self, member: Member, topic: Topic, _sent: Fields) -> None:
        """Let a socket listen no longer, whether it did or not."""
        await self._put_out(member, topic)

    async def tell_typing(self, member: Member, topic: Topic, sent: Fields) -> None:
        """Tell the others in a room that somebody is typing; who that is comes from their credential."""
        is_typing = sent.get("is_typing")
        if not isinstance(is_typing, bool):
            raise InvalidRequest("is_typing must be true or false")
        typist = {"user_id": str(member.user_id), "trigramme": member.principal.trigramme}
        data = {**typist, "is_typing": is_typing}
        self._bus.publish(LiveEvent(topic, "typing", data, origin=member.sid))

    async def renew(self, member: Member, sent: Fields) -> None:
        """Go on with a new credential of the same user, before the old one expires."""
        scope = scope_with_token(member.scope, sent.get("token"))
        principal = await self._authenticator.authenticate(scope)
        if owner_of(principal) != member.user_id:
            raise NotPermitted("this credential is another user's; connect anew with it")
        if self._members.find(member.sid) is member:  # else it was closed meanwhile
            member.scope, member.principal = scope, principal
            self._track(member)

    def rights_changed(self) -> None:
        """Have whoever is about to join anything asked about once more."""
        self._evictions += 1

    async def look_again(self, topic: Topic) -> list[Member]:
        """Put out who may not read a topic any more and return them; whoever cannot be asked about is put out, too."""
        return [one for one in self._members.listening(topic) if not await self._stays(one, topic, is_sure=False)]

    async def look_over(self, member: Member) -> list[Topic]:
        """Put a socket out of what its user may not read any more, and return that."""
        return [topic for topic in tuple(member.topics) if not await self._stays(member, topic, is_sure=True)]

    def forget(self, sid: str) -> Member | None:
        """Forget a socket that is gone."""
        member = self._members.find(sid)
        topics = () if member is None else tuple(member.topics)
        self._members.remove(sid)
        for topic in topics:
            self._stop_hearing(topic)
        return member

    async def _stays(self, member: Member, topic: Topic, *, is_sure: bool) -> bool:
        try:
            may_read = await self._may_read(member, topic)
        except GatewayError:
            may_read = is_sure
        if not may_read:
            await self._put_out(member, topic)
        return may_read

    async def _may_read(self, member: Member, topic: Topic) -> bool:
        return await self._readers[topic.kind].may_read(member.principal, topic.id)

    async def _put_out(self, member: Member, topic: Topic) -> None:
        self._members.leave(member, topic)
        self._stop_hearing(topic)
        await self._rooms.leave(member.sid, topic)

    def _stop_hearing(self, topic: Topic) -> None:
        if not self._members.listening(topic):
            self._feed.leave(topic)


EVENTS: Mapping[str, Command | TopicCommand] = {
    "join_chat": TopicCommand(SocketPolicy.READERS, "chat", Commands.join),
    "leave_chat": TopicCommand(SocketPolicy.ACCOUNTS, "chat", Commands.leave),
    "join_document": TopicCommand(SocketPolicy.READERS, "document", Commands.join),
    "leave_document": TopicCommand(SocketPolicy.ACCOUNTS, "document", Commands.leave),
    "join_collection": TopicCommand(SocketPolicy.READERS, "collection", Commands.join),
    "leave_collection": TopicCommand(SocketPolicy.ACCOUNTS, "collection", Commands.leave),
    "typing": TopicCommand(SocketPolicy.MEMBERS, "chat", Commands.tell_typing),
    "renew": Command(SocketPolicy.ACCOUNTS, Commands.renew),
}
"""Every event that is not refused."""


def topic_of(kind: Kind, sent: Fields) -> Topic:
    """Return what an event is about; raise `InvalidRequest` when it names nothing of this kind."""
    text = sent.get(f"{kind}_id")
    if isinstance(text, str) and len(text) == _UUID_LENGTH:
        try:
            return Topic(kind, uuid.UUID(text))
        except ValueError:
            pass
    raise InvalidRequest(f"{kind}_id must be the id of a {kind}")
