"""Who may call."""

from typing import Any

import pytest

from backend.core.errors import NotAuthenticated
from backend.features.auth.identities import Identities
from backend.features.auth.principal import ANONYMOUS, CALLER, EVERYTHING, Permission
from backend.features.auth.service import Authenticator
from backend.features.auth.stores import SettingsIdentities, SettingsKeys
from tests.fakes.cli_identity import CliIdentity

KEY = "k3y-with-enough-characters"
OTHER = "another-key-of-some-length"


@pytest.fixture
def keys() -> Authenticator:
    return Authenticator([SettingsKeys({KEY: CALLER, OTHER: EVERYTHING})])


def scope_of(headers: dict[str, str], query: bytes = b"") -> dict[str, Any]:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"method": "GET", "path": "/api/tags", "query_string": query, "headers": raw}


async def test_a_valid_key_is_known_by_its_hash(keys: Authenticator) -> None:
    principal = await keys.authenticate(scope_of({"authorization": f"Bearer {KEY}"}))
    assert principal.key_id is not None
    assert len(principal.key_id) == 12
    assert KEY[:4] not in principal.key_id
    assert principal != await keys.authenticate(scope_of({"x-api-key": OTHER}))


async def test_each_key_has_its_own_permissions(keys: Authenticator) -> None:
    caller = await keys.authenticate(scope_of({"x-api-key": KEY}))
    other = await keys.authenticate(scope_of({"x-api-key": OTHER}))
    assert [one.may(Permission.MANAGE_MODELS) for one in (caller, other)] == [False, True]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY.upper()}"},
        {"x-api-key": ""},
        {"x-api-key": "x" * 100_000},
        {"x-api-key": "\xff é"},
        {"cookie": f"key={KEY}"},
        {"authorization": f"{'A' * 68}:{'A' * 86}=="},
    ],
)
async def test_anything_else_is_refused_and_never_repeated(keys: Authenticator, headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        await keys.authenticate(scope_of(headers))
    assert KEY not in caught.value.message
    assert caught.value.status == 401


async def test_each_way_to_go_wrong_is_told_apart(keys: Authenticator) -> None:
    told = set()
    for scope in (scope_of({}), scope_of({"x-api-key": "wrong"}), scope_of({}, f"api_key={KEY}".encode())):
        with pytest.raises(NotAuthenticated) as caught:
            await keys.authenticate(scope)
        told.add(caught.value.message)
    assert len(told) == 3
    assert any("query string is not read" in text for text in told)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer whatever", "x-api-key": "another"}])
async def test_an_open_gateway_asks_nobody(headers: dict[str, str]) -> None:
    gateway = Authenticator([SettingsKeys({KEY: CALLER})], is_open=True)
    assert await gateway.authenticate(scope_of(headers)) is ANONYMOUS
    assert not gateway.requires_key


async def test_an_open_gateway_still_knows_who_shows_a_key() -> None:
    gateway = Authenticator([SettingsKeys({KEY: CALLER})], is_open=True)
    assert (await gateway.authenticate(scope_of({"x-api-key": KEY}))).key_id is not None


async def test_no_keys_at_all_is_not_the_same_as_open() -> None:
    gateway = Authenticator([SettingsKeys({})])
    assert gateway.requires_key
    with pytest.raises(NotAuthenticated):
        await gateway.authenticate(scope_of({"x-api-key": ""}))


async def test_who_shows_nothing_is_told_of_signing_where_callers_may_sign(keys: Authenticator) -> None:
    store = SettingsIdentities([CliIdentity().public_key])
    identities = Identities([store], tolerance_seconds=300, connect_page=None, now=lambda: 0.0)
    told = []
    for gateway in (keys, Authenticator([SettingsKeys({})], identities)):
        with pytest.raises(NotAuthenticated) as caught:
            await gateway.authenticate(scope_of({}))
        told.append("OLLAMA_AUTH=1" in str(caught.value))
    assert told == [False, True]


async def test_a_key_allows_what_it_was_given_for(keys: Authenticator) -> None:
    caller, operator = [await keys.authenticate(scope_of({"x-api-key": key})) for key in (KEY, OTHER)]
    assert not caller.may(Permission.MANAGE_MODELS)
    assert operator.may(Permission.MANAGE_MODELS)


def test_the_keys_themselves_are_not_kept(keys: Authenticator) -> None:
    assert KEY not in repr(vars(keys))
    assert KEY not in repr([vars(store) for store in keys._stores])
