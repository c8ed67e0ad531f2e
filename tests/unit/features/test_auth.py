"""Who may call."""

import pytest

from backend.core.errors import NotAuthenticated
from backend.features.auth.principal import ANONYMOUS, EVERYTHING, Permission
from backend.features.auth.service import Authenticator

KEY = "k3y-with-enough-characters"
OTHER = "another-key-of-some-length"


@pytest.fixture
def keys() -> Authenticator:
    return Authenticator({KEY: frozenset({Permission.USE_MODELS}), OTHER: EVERYTHING})


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
        {"authorization": f"BEARER   {KEY} "},
        {"x-api-key": KEY},
        {"x-api-key": f" {KEY} "},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
        {"authorization": f"Bearer {KEY}", "x-api-key": "wrong"},
    ],
)
async def test_a_valid_key_is_known_by_its_hash(keys: Authenticator, headers: dict[str, str]) -> None:
    principal = await keys.authenticate(headers)
    assert principal.key_id is not None
    assert len(principal.key_id) == 12
    assert KEY[:4] not in principal.key_id
    assert principal != await keys.authenticate({"x-api-key": OTHER})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY.upper()}"},
        {"x-api-key": ""},
        {"x-api-key": "x" * 100_000},
        {"x-api-key": "\udcff é\u2028"},
        {"cookie": f"key={KEY}"},
    ],
)
async def test_anything_else_is_refused_and_never_repeated(keys: Authenticator, headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        await keys.authenticate(headers)
    assert KEY not in caught.value.message
    assert caught.value.status == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer whatever"}])
async def test_an_open_gateway_asks_nobody(headers: dict[str, str]) -> None:
    gateway = Authenticator(None)
    assert await gateway.authenticate(headers) is ANONYMOUS
    assert not gateway.requires_key


async def test_no_keys_at_all_is_not_the_same_as_open() -> None:
    gateway = Authenticator({})
    assert gateway.requires_key
    with pytest.raises(NotAuthenticated):
        await gateway.authenticate({"x-api-key": ""})


async def test_a_key_allows_what_it_was_given_for(keys: Authenticator) -> None:
    caller, operator = await keys.authenticate({"x-api-key": KEY}), await keys.authenticate({"x-api-key": OTHER})
    assert not caller.may(Permission.MANAGE_MODELS)
    assert operator.may(Permission.MANAGE_MODELS)


def test_the_keys_themselves_are_not_kept(keys: Authenticator) -> None:
    assert KEY not in repr(vars(keys))
