"""The form of keys, networks, bounds, and what the store is asked."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.core.errors import NotPermitted, RateLimited
from backend.core.secrets import mask
from backend.features.auth.principal import Principal
from backend.features.auth.rates import RequestRates
from backend.features.auth.service import Authenticator
from backend.features.keys import format as form
from backend.features.keys.format import PREFIX, hint, is_well_formed, key_hash, new_key
from backend.features.keys.last_uses import LastUses
from backend.features.keys.models import ApiKey
from backend.features.keys.networks import holds, parse_network, parse_networks
from backend.features.keys.scope import KeyScope
from backend.features.keys.stores import DatabaseIdentities, DatabaseKeys

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NOW = datetime(2026, 11, 21, tzinfo=UTC)


# --- form


@given(st.integers(0, 2**256 - 1))
def test_every_number_of_256_bits_is_a_well_formed_key_of_its_own(number: int) -> None:
    body = PREFIX + form._written(number, 43)
    key = body + form._checksum(body)
    assert is_well_formed(key)
    assert len(key) == len(PREFIX) + 49
    read = 0
    for letter in body.removeprefix(PREFIX):
        read = read * 62 + LETTERS.index(letter)
    assert read == number


@given(st.data())
def test_one_wrong_letter_is_noticed(data: st.DataObject) -> None:
    key = new_key()
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from(LETTERS + "_-. é\n"))
    assume(letter != key[at])
    assert not is_well_formed(key[:at] + letter + key[at + 1 :])


@given(st.text(max_size=80))
def test_what_anybody_types_is_no_key(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(PREFIX + text)


def test_nothing_around_a_key_is_taken() -> None:
    key = new_key()
    for wrong in (f"{key}\n", f" {key}", key + "0", key[:-1], key.upper(), key * 2, "x" * 1_000_000):
        assert not is_well_formed(wrong)


def test_a_key_is_masked_in_text_and_its_hint_tells_little() -> None:
    key = new_key()
    assert key not in mask(f"somebody sent {key}, and /x/{key}/y")
    assert mask(f"a {key}") == "a [masked]"
    assert mask(hint(key)) == hint(key) == f"psl_…{key[-4:]}"
    assert key[4:-4] not in key_hash(key)


# --- networks


@pytest.mark.parametrize(
    ("networks", "peer", "is_in"),
    [
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
        (["2001:db8::/48"], "2001:db8::1", True),
        (["2001:db8::/48", "192.0.2.0/24"], "192.0.2.1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["0.0.0.0/0", "::/0"], "", False),
        (["0.0.0.0/0"], "192.0.2.1, 10.0.0.1", False),
        (["0.0.0.0/0"], "/run/gateway.sock", False),
    ],
)
def test_an_address_is_in_a_network_or_not(networks: list[str], peer: str, is_in: bool) -> None:
    assert holds(parse_networks(networks), peer) == is_in
    assert holds(None, peer)


@pytest.mark.parametrize("text", ["", "192.0.2.1/24", "192.0.2", "::ffff:192.0.2.0/120", "a.example", "192.0.2.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_network(text)


# --- bounds


def row(**fields: Any) -> ApiKey:
    return ApiKey(**fields)


WIDER = [
    ({"permissions": ["models:use"]}, {}),
    ({"permissions": ["models:use"]}, {"permissions": ["models:use", "keys:write"]}),
    ({"models": ["a"]}, {}),
    ({"models": ["a"]}, {"models": ["a", "b"]}),
    ({"networks": ["192.0.2.0/24"]}, {}),
    ({"networks": ["192.0.2.0/24"]}, {"networks": ["192.0.2.0/25", "192.0.0.0/16"]}),
    ({"networks": ["0.0.0.0/0"]}, {"networks": ["::/0"]}),
    ({"expires_at": NOW}, {}),
    ({"expires_at": NOW}, {"expires_at": NOW + timedelta(seconds=1)}),
    ({"requests_per_minute": 5}, {"requests_per_minute": 1}),
    ({"tokens_per_day": 5}, {"tokens_per_day": 1}),
]
WITHIN = [
    ({}, {}),
    ({}, {"models": ["a"], "permissions": [], "requests_per_minute": 1}),
    ({"permissions": ["models:use", "keys:write"]}, {"permissions": ["models:use"]}),
    ({"models": ["a", "b"]}, {"models": ["A:latest"]}),
    ({"networks": ["192.0.2.0/24", "::/0"]}, {"networks": ["192.0.2.128/25", "::1"]}),
    ({"expires_at": NOW}, {"expires_at": NOW}),
]


@pytest.mark.parametrize(("mine", "other"), WIDER)
def test_a_wider_key_is_refused(mine: dict[str, Any], other: dict[str, Any]) -> None:
    with pytest.raises(NotPermitted):
        KeyScope.of(row(**mine)).check_covers(row(**other))


@pytest.mark.parametrize(("mine", "other"), WITHIN)
def test_a_narrower_key_is_let_through(mine: dict[str, Any], other: dict[str, Any]) -> None:
    KeyScope.of(row(**mine)).check_covers(row(**other))


# --- the store


class Untouchable:
    """A database that counts how often it is asked, and knows nothing."""

    def __init__(self) -> None:
        self.asked = 0

    @asynccontextmanager
    async def reading(self) -> Any:
        self.asked += 1
        yield self

    async def execute(self, *_given: Any) -> Any:
        return self

    def unique(self) -> Any:
        return self

    def one_or_none(self) -> None:
        return None


@pytest.fixture
def database() -> Any:
    return Untouchable()


async def test_what_cannot_be_a_key_never_reaches_the_database(database: Any) -> None:
    store, identities = DatabaseKeys(database, LastUses(database)), DatabaseIdentities(database)
    good = new_key()
    for number in range(2_000):
        body = PREFIX + form._written(number * 2**240 + 7, 43)
        assert await store.find(body + "000000") is None
    for wrong in ("", "sk-something-else-entirely", good[:-1], good + "x", "x" * 100_000, "\udcff" * 53):
        assert await store.find(wrong) is None
        assert await identities.find(wrong) is None
    assert database.asked == 0
    assert await store.find(good) is None
    assert database.asked == 1


async def test_keys_that_nobody_has_leave_nothing_behind(database: Any) -> None:
    store = DatabaseKeys(database, LastUses(database))
    for _ in range(500):
        assert await store.find(new_key()) is None
    assert len(store.known._kept) == 0
    assert database.asked == 500


# --- rates


class OneKey:
    """A store that knows everybody under one key."""

    def __init__(self, per_minute: int | None) -> None:
        self.peers: list[str] = []
        self._principal = Principal("key-1", requests_per_minute=per_minute, user_id=uuid.UUID(int=1))

    async def find(self, secret: str, peer: str = "") -> Principal | None:  # noqa: ARG002
        self.peers.append(peer)
        return self._principal


def scope_from(client: object) -> dict[str, Any]:
    headers = [(b"x-api-key", new_key().encode()), (b"x-forwarded-for", b"192.0.2.1"), (b"forwarded", b"for=192.0.2.1")]
    return {"method": "GET", "path": "/", "query_string": b"", "headers": headers, "client": client}


async def test_a_store_is_told_the_connections_own_address() -> None:
    store = OneKey(None)
    for client in (("198.51.100.7", 1), None):
        await Authenticator([store]).authenticate(scope_from(client))
    assert store.peers == ["198.51.100.7", ""]


async def test_a_credential_with_a_limit_waits_when_it_was_used_too_often() -> None:
    limited, unlimited = Authenticator([OneKey(3)]), Authenticator([OneKey(None)])
    for _ in range(3):
        await limited.authenticate(scope_from(None))
    with pytest.raises(RateLimited) as caught:
        await limited.authenticate(scope_from(None))
    assert 1 <= (caught.value.retry_after or 0) <= 60
    for _ in range(10):
        await unlimited.authenticate(scope_from(None))


async def test_many_at_once_do_not_slip_through_together() -> None:
    rates = RequestRates()
    done = await asyncio.gather(*(rates.admit("key-1", 5) for _ in range(50)), return_exceptions=True)
    assert [one for one in done if not isinstance(one, RateLimited)] == [None] * 5
    await rates.admit("key-2", 5)
