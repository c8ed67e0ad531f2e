"""Who is connected by a socket, what they listen to, and how much a socket may do."""

import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backend.core.errors import RateLimited
from backend.features.auth.principal import Principal
from backend.features.live.events import Topic

_Name = TypeVar("_Name")

MOST_SOCKETS = 10
"""Sockets of one user in one process."""
MOST_TOPICS = 100
"""Chats, documents and collections one socket may listen to."""
MOST_A_SECOND = 20
"""What a socket may send in a second; more is abuse."""


@dataclass(slots=True, eq=False)
class Member:
    """One connected socket of somebody with an account."""

    sid: str
    """Its id in Socket.IO, which only its client knows."""
    connection: str
    """The id of the connection below it."""
    principal: Principal
    scope: Mapping[str, Any]
    """The request that shows its credential, to check that again."""
    user_id: uuid.UUID
    topics: set[Topic] = field(default_factory=set)
    untrack: Callable[[], object] = field(default=lambda: None)


class Members:
    """The connected sockets of this process."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._of_user: dict[uuid.UUID, set[Member]] = {}
        self._listening: dict[Topic, set[Member]] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members.values()))

    def find(self, sid: str) -> Member | None:
        """Return whose socket this is; None for one that is not connected."""
        return self._members.get(sid)

    def add(self, member: Member) -> None:
        """Keep a socket; raise `RateLimited` when its user has too many."""
        sockets = self._of_user.setdefault(member.user_id, set())
        if len(sockets) >= MOST_SOCKETS:
            raise RateLimited(f"you have {MOST_SOCKETS} connections open already; close one and try again")
        sockets.add(member)
        self._members[member.sid] = member

    def remove(self, sid: str) -> Member | None:
        """Forget a socket and return whose it was."""
        member = self._members.pop(sid, None)
        if member is None:
            return None
        member.untrack()
        for topic in tuple(member.topics):
            self.leave(member, topic)
        _discard(self._of_user, member.user_id, member)
        return member

    def join(self, member: Member, topic: Topic) -> None:
        """Let a socket listen to a topic."""
        member.topics.add(topic)
        self._listening.setdefault(topic, set()).add(member)

    def leave(self, member: Member, topic: Topic) -> None:
        """Let a socket listen to a topic no longer."""
        member.topics.discard(topic)
        _discard(self._listening, topic, member)

    def of_user(self, user_id: uuid.UUID) -> tuple[Member, ...]:
        """Return the sockets of a user."""
        return tuple(self._of_user.get(user_id, ()))

    def listening(self, topic: Topic) -> tuple[Member, ...]:
        """Return who listens to a topic."""
        return tuple(self._listening.get(topic, ()))

    def concerned(self, topic: Topic) -> tuple[Topic, ...]:
        """Return what is listened to whose readers may be others when those of `topic` are.

        Which documents a collection has is not known here, so all count that are listened to.
        """
        is_collection = topic.kind == "collection"
        return tuple(one for one in self._listening if one == topic or (is_collection and one.kind == "document"))


class Pace:
    """Counts what one connection sends."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MOST_A_SECOND)

    def is_kept(self, now: float) -> bool:
        """Count one more; return whether it was not too fast."""
        is_kept = len(self._times) < MOST_A_SECOND or now - self._times[0] > 1.0
        self._times.append(now)
        return is_kept


def _discard(sets: dict[_Name, set[Member]], name: _Name, member: Member) -> None:
    members = sets.get(name, set())
    members.discard(member)
    if not members:
        sets.pop(name, None)
