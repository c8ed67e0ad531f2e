"""Whom a front end's requests are for, and that nobody else is believed."""

import time
import uuid
from typing import Any

import jwt
import pytest

from backend.core.errors import GatewayError, InvalidRequest, NotAuthenticated, NotPermitted
from backend.features.auth.forwarded_users import EMAIL_HEADER, TOKEN_HEADER, ForwardedUsers
from backend.features.auth.principal import CALLER, EVERYTHING, Permission, Principal
from backend.features.auth.service import Authenticator

SECRET = b"0f9c2b7a5d3e8146a0b1c2d3e4f50617" * 2
ADA = Principal(None, EVERYTHING, user_id=uuid.UUID(int=1), trigramme="ada", role_id=uuid.UUID(int=2))
KEY = Principal(
    "key-1",
    CALLER | {Permission.DELEGATE, Permission.MANAGE_MODELS},
    models=frozenset({"m"}),
    user_id=uuid.UUID(int=9),
    trigramme="web",
    requests_per_minute=7,
    tokens_per_day=70,
    serves_others=True,
)


class Users:
    """A `UserStore` that knows Ada, and somebody who is suspended."""

    async def find(self, email: str) -> Principal | None:
        if email == "suspended@example.org":
            raise NotAuthenticated("suspended")
        return ADA if email == "ada@example.org" else None


class Keys:
    """A `KeyStore` with one key."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    async def find(self, secret: str, peer: str = "") -> Principal | None:
        del peer
        return self.principal if secret == "k" * 30 else None


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    shown = (b"authorization", b"Bearer " + b"k" * 30)
    return {"method": "GET", "path": "/", "query_string": b"", "headers": [shown, *headers], "client": ("192.0.2.1", 1)}


def email(text: bytes) -> tuple[bytes, bytes]:
    return EMAIL_HEADER, text


def token(secret: bytes = SECRET, algorithm: str = "HS256", **changes: Any) -> tuple[bytes, bytes]:
    claims = {"sub": "1", "email": "ada@example.org", "iss": "open-webui", "exp": time.time() + 300, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return TOKEN_HEADER, jwt.encode(claims, secret, algorithm=algorithm).encode()


async def served(*headers: tuple[bytes, bytes], key: Principal = KEY, is_open: bool = False, **how: Any) -> Principal:
    forwarded = ForwardedUsers(Users(), **how)
    return await Authenticator([Keys(key)], forwarded=forwarded, is_open=is_open).authenticate(scope(*headers))


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_user_is_served_within_the_bounds_of_the_key(is_open: bool) -> None:
    found = await served(email(b" ada@example.org "), is_open=is_open)
    assert (found.user_id, found.trigramme, found.role_id) == (ADA.user_id, "ada", ADA.role_id)
    assert (found.key_id, found.models) == ("key-1", KEY.models)
    assert (found.requests_per_minute, found.tokens_per_day) == (7, 70)
    assert found.permissions == {Permission.USE_MODELS}, "neither the user's nor the key's other permissions"
    assert found.is_forwarded
    assert found.is_bound
    assert not found.serves_others


async def test_a_user_uses_no_models_with_a_key_that_may_not() -> None:
    found = await served(email(b"ada@example.org"), key=Principal("k", frozenset({Permission.DELEGATE}),
                                                                  serves_others=True))  # fmt: skip
    assert found.permissions == frozenset()


@pytest.mark.parametrize("headers", [(email(b"ada@example.org"),), (token(),), (email(b"x"), email(b"y"))])
async def test_no_other_key_is_believed(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    for key in (Principal("k", EVERYTHING), Principal("k", EVERYTHING, user_id=uuid.UUID(int=3))):
        for secret in (None, SECRET):
            assert await served(*headers, key=key, secret=secret) is key


@pytest.mark.parametrize(
    "text",
    [b"", b"  ", b"nobody@example.org", b"ada@example.org, eve@example.org", b"\xff\xfe", b"a" * 5000, b"ada"],
)
async def test_who_has_no_account_is_the_key_or_nobody(text: bytes) -> None:
    assert await served(email(text)) is KEY
    if text.strip():
        with pytest.raises(NotPermitted, match="nobody here has an account"):
            await served(email(text), refuses_unknown=True)


async def test_a_request_that_names_nobody_is_the_keys_own() -> None:
    for secret in (None, SECRET):
        assert await served(secret=secret, refuses_unknown=True) is KEY


async def test_a_suspended_user_is_not_served() -> None:
    for is_open in (False, True):
        with pytest.raises(NotAuthenticated, match="suspended"):
            await served(email(b"suspended@example.org"), is_open=is_open)


@pytest.mark.parametrize("second", [b"ada@example.org", b"eve@example.org", b""])
async def test_two_headers_are_refused(second: bytes) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        await served(email(b"ada@example.org"), email(second))
    with pytest.raises(InvalidRequest, match="twice"):
        await served(token(), token(email="eve@example.org"), secret=SECRET)


async def test_with_a_secret_only_a_signature_names_somebody() -> None:
    assert (await served(token(), secret=SECRET)).user_id == ADA.user_id
    assert await served(email(b"ada@example.org"), secret=SECRET) is KEY
    signed = token(email="nobody@example.org")
    assert await served(email(b"ada@example.org"), signed, secret=SECRET) is KEY


@pytest.mark.parametrize(
    "forged",
    [
        token(b"another secret of thirty-two bytes "),
        token(algorithm="HS512"),
        token(exp=time.time() - 3600),
        token(exp=None),
        token(exp="soon"),
        token(exp=float("inf")),
        token(iss="somebody"),
        token(iss=None),
        token(email=None),
        token(email=7),
        token(email=["ada@example.org"]),
        token(email=" "),
        (TOKEN_HEADER, jwt.encode({"email": "ada@example.org", "iss": "open-webui"}, "", algorithm="none").encode()),
        (TOKEN_HEADER, b"ada@example.org"),
        (TOKEN_HEADER, b"e30." * 2000),
        (TOKEN_HEADER, b"\xff"),
    ],
)
async def test_what_is_not_signed_as_it_should_be_is_refused(forged: tuple[bytes, bytes]) -> None:
    with pytest.raises(GatewayError) as caught:
        await served(forged, secret=SECRET)
    assert caught.value.status == 401
