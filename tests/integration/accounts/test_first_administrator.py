"""No account exists after an installation; the first one is made by whoever runs the machine."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.core.config import Settings
from backend.core.errors import NotPermitted
from backend.features.accounts import service as service_module
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side, open_side

CLOSED = "registration is closed; ask an administrator for an account"


def token_in(text: str) -> str:
    line = next(line for line in text.splitlines() if "gw-bootstrap-" in line)
    return line.rpartition(" ")[2]


def first(token: str, email: str = ADMIN_EMAIL) -> dict[str, Any]:
    return {"token": token, "email": email, "password": PASSWORD}


async def test_the_token_is_written_once_and_works_once(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    async with open_side(settings):
        token = token_in(capfd.readouterr().err)
    async with open_side(settings) as side:
        assert "gw-bootstrap-" not in capfd.readouterr().err
        made = await side.ask("POST", "/auth/bootstrap", first(token))
        assert made.status_code == 201
        assert made.json()["role"]["name"] == "admin"
        again = await side.ask("POST", "/auth/bootstrap", first(token, "eve@example.org"))
        assert again.status_code == 403
        admin = await side.as_user()
        assert (await admin.ask("GET", "/admin/users")).json()["total"] == 1
        assert "user.create" in await admin.actions()


async def test_two_at_once_make_one_administrator(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    async with open_side(settings) as side:
        token = token_in(capfd.readouterr().err)
        replies = await asyncio.gather(
            *[side.ask("POST", "/auth/bootstrap", first(token, f"user{number}@example.org")) for number in range(4)]
        )
        assert sorted(reply.status_code for reply in replies) == [201, 403, 403, 403]


async def test_an_old_a_wrong_and_a_late_token_make_nobody(side: Side, monkeypatch: Any) -> None:
    own = side.container.accounts.own
    wrong = await side.ask("POST", "/auth/bootstrap", first("gw-bootstrap-" + "x" * 43))
    assert wrong.status_code == 403
    async with side.container.database.transaction() as transaction:
        await own._tokens.use(transaction, "", own._now())
        await transaction.execute(service_module.BootstrapToken.__table__.delete())
    token = await own.offer_bootstrap()
    assert token is not None
    assert await own.offer_bootstrap() is None, "one is out"
    now = own._now
    monkeypatch.setattr(own, "_now", lambda: now() + service_module.BOOTSTRAP_LIFETIME)
    assert (await side.ask("POST", "/auth/bootstrap", first(token))).status_code == 403
    monkeypatch.setattr(own, "_now", now)
    await own.create_admin(ADMIN_EMAIL, PASSWORD)
    assert (await side.ask("POST", "/auth/bootstrap", first(token, "eve@example.org"))).status_code == 403
    assert await own.offer_bootstrap() is None, "somebody has an account"


async def test_guessing_the_token_is_limited(side: Side) -> None:
    statuses = [(await side.ask("POST", "/auth/bootstrap", first("guess"))).status_code for _ in range(7)]
    assert statuses == [403] * 5 + [429] * 2


async def test_an_open_gateway_offers_no_token(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    async with open_side(settings.model_copy(update={"api_keys": (), "auth": "open"})) as side:
        assert "gw-bootstrap-" not in capfd.readouterr().err
        assert (await side.client.get("/api/tags")).status_code == 200
        assert (await side.client.get("/api/tags", headers={"authorization": "Bearer wrong"})).status_code == 200
        assert (await side.ask("GET", "/auth/me")).status_code == 401
        assert (await side.ask("GET", "/admin/users")).status_code == 403
        await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        admin = await side.as_user()
        assert (await admin.ask("GET", "/auth/me")).json()["email"] == ADMIN_EMAIL


async def test_registration_is_closed_until_it_is_opened(side: Side) -> None:
    reply = await side.ask("POST", "/auth/register", {"email": "bob@example.org", "password": PASSWORD})
    assert (reply.status_code, reply.json()["detail"]) == (403, CLOSED)


async def test_registering_a_known_address_looks_like_any_other(settings: Settings) -> None:
    accounts = settings.accounts.model_copy(update={"registration": "open"})
    async with open_side(settings.model_copy(update={"accounts": accounts})) as side:
        await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        replies = [
            await side.ask("POST", "/auth/register", {"email": email, "password": "quite another phrase"})
            for email in (ADMIN_EMAIL, "bob@example.org")
        ]
        assert len({(reply.status_code, reply.text) for reply in replies}) == 1
        assert replies[0].status_code == 202
        await side.login()
        bob = await side.as_user("bob@example.org", "quite another phrase")
        assert (await bob.ask("GET", "/auth/me")).json()["role"]["name"] == "user"
        more = [
            (await side.ask("POST", "/auth/register", {"email": f"u{n}@example.org", "password": PASSWORD})).status_code
            for n in range(3)
        ]
        assert more == [202, 429, 429]


async def test_built_in_roles_follow_the_version(side: Side) -> None:
    own = side.container.accounts.own
    async with side.container.database.transaction() as transaction:
        role = await own._roles.lock_admin(transaction)
        role.permissions = ["models:use"]
    await asyncio.gather(own.ensure_roles(), own.ensure_roles())
    async with side.container.database.reading() as reading:
        role = await own._roles.lock_admin(reading)
    assert "users:manage" in role.permissions


async def test_a_command_line_administrator_needs_a_fair_password(side: Side) -> None:
    with pytest.raises(Exception, match="among the first"):
        await side.container.accounts.own.create_admin(ADMIN_EMAIL, "password1234")
    with pytest.raises(NotPermitted):
        await side.container.accounts.own.register(service_module.Stranger("::1", ""), service_module.NewUser("a", "b"))


@pytest.mark.parametrize(
    ("auth", "has_account", "warns"),
    [("auto", True, True), ("auto", False, False), ("open", True, False), ("keys", True, False)],
)
async def test_a_gateway_that_is_open_although_there_are_accounts_says_so(
    settings: Settings, auth: str, has_account: bool, warns: bool
) -> None:
    changed = settings.model_copy(update={"auth": auth, "api_keys": ()})
    if has_account:
        async with open_side(settings) as side:
            await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
    with capture_logs() as logs:
        async with open_side(changed):
            pass
    told = [entry for entry in logs if entry["event"] == "open_although_there_are_accounts"]
    assert len(told) == warns
    assert all("GATEWAY_AUTH=keys" in entry["hint"] for entry in told)
