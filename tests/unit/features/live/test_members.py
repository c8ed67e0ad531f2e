"""Who is connected, and how fast they may be."""

import uuid

import pytest

from backend.core.errors import InvalidRequest, RateLimited
from backend.features.auth.principal import Principal
from backend.features.live.credentials import scope_of, scope_with_token
from backend.features.live.events import Topic
from backend.features.live.members import MOST_A_SECOND, MOST_SOCKETS, Member, Members, Pace

EVE, BOB, CHAT = uuid.UUID(int=1), uuid.UUID(int=2), Topic.chat(uuid.UUID(int=3))
OPENED = {
    "type": "websocket",
    "path": "/ws/socket.io/",
    "query_string": b"EIO=4&token=never-read",
    "headers": [(b"x-api-key", b"one"), (b"host", b"gateway")],
    "client": ("192.0.2.1", 5),
}


def member(sid: str, user_id: uuid.UUID = EVE) -> Member:
    return Member(sid, f"connection of {sid}", Principal(sid, user_id=user_id), {}, user_id)


def test_a_user_has_so_many_sockets_and_others_have_their_own() -> None:
    members = Members()
    for number in range(MOST_SOCKETS):
        members.add(member(f"s{number}"))
    with pytest.raises(RateLimited):
        members.add(member("one more"))
    members.add(member("of another", BOB))
    members.remove("s0")
    members.add(member("in its place"))


def test_nothing_is_left_of_who_is_gone() -> None:
    members, untracked = Members(), []
    one = member("s")
    one.untrack = lambda: untracked.append("s")
    members.add(one)
    members.join(one, CHAT)
    assert members.listening(CHAT) == (one,)
    assert members.remove("s") is one
    assert members.remove("s") is None
    assert untracked == ["s"]
    assert (members._members, members._of_user, members._listening) == ({}, {}, {})


def test_the_pace_is_so_many_in_any_second() -> None:
    pace = Pace()
    assert all(pace.is_kept(5 + number * 0.01) for number in range(MOST_A_SECOND))
    assert not pace.is_kept(5.9)
    assert all(Pace().is_kept(number / 10) for number in range(100))
    calm = Pace()
    assert all(calm.is_kept(number * 1.06 / MOST_A_SECOND) for number in range(200))


def test_a_socket_shows_what_its_request_showed_and_nothing_of_the_query() -> None:
    scope = scope_of(OPENED, None)
    assert (scope["query_string"], scope["client"]) == (b"", ("192.0.2.1", 5))
    assert scope["headers"] == OPENED["headers"]
    assert scope_of(OPENED, {"token": None}) == scope


def test_a_token_stands_beside_the_headers_and_a_new_one_in_their_place() -> None:
    shown = scope_of(OPENED, {"token": "two"})
    assert [value for name, value in shown["headers"] if name != b"host"] == [b"one", b"Bearer two"]
    renewed = scope_with_token(shown, "three")
    assert [value for name, value in renewed["headers"] if name != b"host"] == [b"Bearer three"]
    assert OPENED["headers"] == [(b"x-api-key", b"one"), (b"host", b"gateway")]


@pytest.mark.parametrize("token", ["é", "a\r\nx: y", "x" * 5_000, 5, ["a"], {}])
def test_what_cannot_be_a_token_is_refused(token: object) -> None:
    with pytest.raises(InvalidRequest, match="must be an access token or an API key"):
        scope_of(OPENED, {"token": token})
