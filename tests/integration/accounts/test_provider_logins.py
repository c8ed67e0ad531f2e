"""Logging in with a login provider, there and back."""

from collections.abc import AsyncIterator, Iterator
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from backend.core.config import Settings
from backend.core.config_accounts import OidcSettings
from tests.fakes.login_provider import CLIENT_ID, CLIENT_SECRET, LoginProvider
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side, open_side

PUBLIC_URL = "https://gateway.example/team"
ADA = {"sub": "ada-1", "email": "Ada@Example.org", "email_verified": True, "name": "Ada Lovelace"}
BOB = {"sub": "bob-1", "email": "bob@example.org", "email_verified": True, "name": "Bob Ross"}


@pytest.fixture
def provider() -> Iterator[LoginProvider]:
    with LoginProvider() as running:
        yield running


def configured(settings: Settings, issuer: str, **more: Any) -> Settings:
    oidc = OidcSettings.model_validate(
        {"issuer": issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "create_users": True, **more}
    )
    server = settings.server.model_copy(update={"public_url": PUBLIC_URL})
    return settings.model_copy(update={"oidc": oidc, "server": server})


@pytest.fixture
async def door(settings: Settings, provider: LoginProvider) -> AsyncIterator[Side]:
    """A gateway that makes accounts for whoever the provider vouches for."""
    async with open_side(configured(settings, provider.issuer)) as opened:
        await opened.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        yield opened


async def go(side: Side) -> tuple[str, str]:
    """Begin a login; return the address of the provider and the cookie of the browser."""
    reply = await side.ask("GET", "/auth/oidc/login", headers={"host": "evil.example"})
    assert reply.status_code == 302, reply.text
    side.client.cookies.clear()
    return reply.headers["location"], SimpleCookie(reply.headers["set-cookie"])["passerelle_login"].value


async def come_back(side: Side, cookie: str, brought: dict[str, str]) -> httpx.Response:
    headers: Any = {"cookie": f"passerelle_login={cookie}".encode()}
    return await side.ask("GET", "/auth/oidc/callback", params=brought, headers=headers)


async def log_in(side: Side, provider: LoginProvider, person: dict[str, Any]) -> httpx.Response:
    url, cookie = await go(side)
    return await come_back(side, cookie, provider.approve(url, **person))


async def me(side: Side, reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    headers = {"authorization": f"Bearer {reply.json()['access_token']}"}
    found: dict[str, Any] = (await side.ask("GET", "/auth/me", headers=headers)).json()
    return found


async def test_without_a_provider_the_routes_say_so(side: Side) -> None:
    for path in ("/auth/oidc/login", "/auth/oidc/callback?code=a&state=b"):
        reply = await side.ask("GET", path)
        assert reply.status_code == 404
        assert "no login provider" in reply.json()["detail"]


async def test_the_way_there_is_bound_to_the_browser_and_names_our_public_address(
    door: Side, provider: LoginProvider
) -> None:
    reply = await door.ask("GET", "/auth/oidc/login", headers={"host": "evil.example"})
    cookie = reply.headers["set-cookie"].lower()
    wanted = ("httponly", "samesite=lax", "secure", "path=/team/api/v1/auth/oidc/callback", "max-age=600")
    assert all(attribute in cookie for attribute in wanted)
    assert reply.headers["cache-control"] == "no-store"
    location = httpx.URL(reply.headers["location"])
    assert str(location).startswith(f"{provider.issuer}/authorize?")
    assert location.params["redirect_uri"] == f"{PUBLIC_URL}/api/v1/auth/oidc/callback"
    assert location.params["scope"] == "openid email profile"
    assert CLIENT_SECRET not in str(location)
    assert "code_verifier" not in location.params


async def test_the_first_login_makes_an_account_and_the_second_finds_it(door: Side, provider: LoginProvider) -> None:
    first = await log_in(door, provider, BOB)
    assert set(first.json()) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert first.headers["cache-control"] == "no-store"
    assert "max-age=0" in first.headers["set-cookie"].lower()
    made = await me(door, first)
    assert (made["email"], made["name"], made["trigramme"]) == ("bob@example.org", "Bob Ross", "bro")
    assert made["role"]["name"] == "user"
    moved = {**BOB, "email": "elsewhere@example.org", "email_verified": False}
    assert (await me(door, await log_in(door, provider, moved)))["id"] == made["id"]
    refreshed = await door.ask("POST", "/auth/refresh", {"refresh_token": first.json()["refresh_token"]})
    assert refreshed.status_code == 200
    administrator = await door.as_user()
    actions = await administrator.actions()
    assert actions.count("user.create") == 2
    assert actions.count("session.begin") == 3
    assert provider.forms[0].keys() == {"grant_type", "redirect_uri", "code", "code_verifier"}
    assert provider.asked.count("/realm/keys") == 1


async def test_a_verified_email_ties_an_account_once(door: Side, provider: LoginProvider) -> None:
    tied = await me(door, await log_in(door, provider, ADA))
    assert (tied["email"], tied["role"]["name"]) == (ADMIN_EMAIL, "admin")
    assert "user.tie" in await (await door.as_user()).actions(), "the password still works"
    other = await log_in(door, provider, {**ADA, "sub": "somebody-else"})
    assert other.status_code == 403
    assert (await me(door, await log_in(door, provider, ADA)))["id"] == tied["id"]


@pytest.mark.parametrize("said", [{"email_verified": False}, {"email_verified": "true"}, {"email": "not an address"}])
async def test_an_email_that_is_not_verified_ties_and_makes_nothing(
    door: Side, provider: LoginProvider, said: dict[str, Any]
) -> None:
    reply = await log_in(door, provider, {**ADA, **said})
    assert reply.status_code == 403
    assert "email" in reply.json()["detail"]


async def test_open_registration_ties_no_account_by_its_email(settings: Settings, provider: LoginProvider) -> None:
    opened = settings.accounts.model_copy(update={"registration": "open"})
    async with open_side(configured(settings, provider.issuer).model_copy(update={"accounts": opened})) as side:
        await side.ask("POST", "/auth/register", {"email": BOB["email"], "password": PASSWORD})
        assert (await log_in(side, provider, BOB)).status_code == 403


async def test_only_known_people_of_our_domains_get_in(settings: Settings, provider: LoginProvider) -> None:
    closed = configured(settings, provider.issuer, create_users=False, allowed_domains="Example.org")
    async with open_side(closed) as side:
        await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        assert (await log_in(side, provider, BOB)).status_code == 403
        assert (await log_in(side, provider, {**ADA, "email": "ada@example.org.evil.test"})).status_code == 403
        assert (await log_in(side, provider, ADA)).status_code == 200
        assert (await log_in(side, provider, {**ADA, "email_verified": False})).status_code == 403


async def test_a_suspended_account_is_refused(door: Side, provider: LoginProvider) -> None:
    made = await me(door, await log_in(door, provider, BOB))
    administrator = await door.as_user()
    await administrator.ask("PATCH", f"/admin/users/{made['id']}", {"is_active": False})
    reply = await log_in(door, provider, BOB)
    assert reply.status_code == 403
    assert "suspended" in reply.json()["detail"]


async def test_a_login_of_another_browser_a_used_one_and_a_made_up_one_are_refused(
    door: Side, provider: LoginProvider
) -> None:
    url, cookie = await go(door)
    other_url, other_cookie = await go(door)
    brought = provider.approve(url, **BOB)
    tail = "A" if cookie[-2] != "A" else "B"
    for wrong in ("", "x", "a.b.c", other_cookie, cookie[:-2] + tail + cookie[-1], cookie + ".x", "\u00e9.1.\u00e9"):
        reply = await come_back(door, wrong, brought)
        assert reply.status_code == 401, wrong
    assert not provider.forms, "nothing was asked of the provider for these"
    assert (await come_back(door, cookie, {**brought, "state": "x"})).status_code == 401
    assert (await come_back(door, cookie, brought)).status_code == 200
    assert (await come_back(door, cookie, brought)).status_code == 401
    assert len(provider.forms) == 1
    again = {"code": brought["code"], "state": provider.approve(other_url, **BOB)["state"]}
    replayed = await come_back(door, other_cookie, again)
    assert replayed.status_code == 401
    assert "LEAK" not in replayed.text


async def test_a_refusal_at_the_provider_is_told_in_our_words(door: Side, provider: LoginProvider) -> None:
    url, cookie = await go(door)
    state = provider.approve(url)["state"]
    reply = await come_back(door, cookie, {"state": state, "error": "LEAK", "error_description": "LEAK"})
    assert reply.status_code == 401
    assert "LEAK" not in reply.text


@pytest.mark.parametrize("status", [302, 401, 429, 500])
async def test_a_provider_that_fails_is_told_in_one_sentence(door: Side, provider: LoginProvider, status: int) -> None:
    url, cookie = await go(door)
    brought = provider.approve(url, **BOB)
    provider.status = status
    reply = await come_back(door, cookie, brought)
    assert reply.status_code == 502
    assert "login provider" in reply.json()["detail"]
    assert "LEAK" not in reply.text
    assert provider.asked[-1] == "/realm/token", "no redirect is followed"


async def test_a_provider_that_is_down_stops_nobody_else(settings: Settings) -> None:
    with LoginProvider() as gone:
        pass
    async with open_side(configured(settings, gone.issuer)) as side:
        reply = await side.ask("GET", "/auth/oidc/login")
        assert reply.status_code == 502
        assert "127.0.0.1" not in reply.text
        await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        await side.login()


async def test_a_provider_that_wants_its_secret_in_the_form_gets_it_there(door: Side, provider: LoginProvider) -> None:
    provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    await me(door, await log_in(door, provider, BOB))
    assert provider.forms[0]["client_secret"] == CLIENT_SECRET


async def test_attempts_are_limited_per_address(door: Side) -> None:
    statuses = [(await door.ask("GET", "/auth/oidc/callback")).status_code for _ in range(41)]
    assert statuses == [401] * 40 + [429]
