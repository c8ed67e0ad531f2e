"""A key with which a front end has requests served as its users."""

import asyncio
import uuid
from functools import partial
from typing import Any

import httpx
import pytest

from backend.core.config import Settings
from backend.core.errors import GatewayError
from backend.features.auth.principal import EVERYTHING, Permission, Principal
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side, open_side
from tests.integration.keys.conftest import BOB_EMAIL, EVE_EMAIL, make_key, with_key

HEADER = "x-openwebui-user-email"
SERVES = ["models:use", "users:delegate"]


def naming(side: Side, email: str) -> Side:
    """Return the same with a header that names a user."""
    return Side(side.client, side.container, {**side.headers, HEADER: email})


async def models(side: Side) -> set[str]:
    """Return the names that /api/tags lists."""
    reply = await side.client.get("/api/tags", headers=side.headers)
    assert reply.status_code == 200, reply.text
    return {model["name"] for model in reply.json()["models"]}


async def principal_of(side: Side) -> Principal:
    headers = [(name.encode(), value.encode()) for name, value in side.headers.items()]
    return await side.container.authenticator.authenticate({"headers": headers, "query_string": b""})


async def make_agent(side: Side, name: str) -> str:
    """Return the name under which the world sees a new agent."""
    reply = await side.ask("POST", "/agents", {"name": name, "model": "demo", "system_prompt": "Be kind."})
    assert reply.status_code == 201, reply.text
    return f"{(await side.ask('GET', '/auth/me')).json()['trigramme']}/{name}:latest"


@pytest.fixture
async def front(admin: Side) -> Side:
    """A front end's key."""
    return with_key(admin, (await make_key(admin, permissions=SERVES))["key"])


async def test_each_user_has_their_own_agents_and_nobody_elses(front: Side, eve: Side, bob: Side) -> None:
    hers, his = await make_agent(eve, "hers"), await make_agent(bob, "his")
    assert {hers, his}.isdisjoint(await models(front)), "the key's owner has an own look"
    assert {hers, his} & await models(naming(front, EVE_EMAIL)) == {hers}
    assert {hers, his} & await models(naming(front, BOB_EMAIL.upper())) == {his}
    body = {"model": "me/hers", "messages": [{"role": "user", "content": "hi"}], "stream": False}
    asked: dict[str, httpx.Response] = {
        email: await front.client.post("/api/chat", json=body, headers=naming(front, email).headers)
        for email in (EVE_EMAIL, BOB_EMAIL)
    }
    assert (asked[EVE_EMAIL].status_code, asked[BOB_EMAIL].status_code) == (200, 404)


@pytest.mark.parametrize("path", ["/v1/models", "/api/tags"])
async def test_every_wire_serves_the_user(front: Side, eve: Side, path: str) -> None:
    hers = await make_agent(eve, "hers")
    assert hers.removesuffix(":latest") in (
        await front.client.get(path, headers=naming(front, EVE_EMAIL).headers)
    ).text  # fmt: skip


async def test_a_user_is_served_models_and_nothing_of_their_account(front: Side, eve: Side) -> None:
    await make_agent(eve, "hers")
    eve_id = (await eve.ask("GET", "/auth/me")).json()["id"]
    for email in (EVE_EMAIL, ADMIN_EMAIL):
        served = naming(front, email)
        for method, path, body in [
            ("GET", "/auth/me", None),
            ("PATCH", "/auth/me", {"name": "Mallory"}),
            ("POST", "/auth/logout", None),
            ("GET", "/sessions", None),
            ("GET", "/keys", None),
            ("POST", "/keys", {"name": "x"}),
            ("GET", "/public-keys", None),
            ("GET", "/agents", None),
            ("POST", "/agents", {"name": "x", "model": "demo"}),
            ("GET", "/admin/users", None),
            ("DELETE", f"/admin/users/{eve_id}", None),
            ("GET", "/admin/audit", None),
        ]:
            assert (await served.ask(method, path, body)).status_code == 403, (email, method, path)
        removed = await front.client.request("DELETE", "/api/delete", json={"model": "me/hers"}, headers=served.headers)
        assert removed.status_code in {403, 404}
    assert (await principal_of(naming(front, ADMIN_EMAIL))).permissions == {Permission.USE_MODELS}
    assert (await eve.ask("GET", "/agents/my")).json()["total"] == 1


async def test_no_key_is_a_front_ends_that_was_not_made_for_it(admin: Side, eve: Side) -> None:
    hers = await make_agent(eve, "hers")
    everything = await make_key(admin, expires_in_days=None)
    listed = await make_key(admin, permissions=sorted(EVERYTHING - {Permission.DELEGATE}))
    for side in (with_key(admin, everything["key"]), with_key(admin, listed["key"]), admin):
        found = await principal_of(naming(side, EVE_EMAIL))
        assert found == await principal_of(side)
        assert not found.is_forwarded
    own = with_key(eve, (await make_key(eve))["key"])
    assert (await principal_of(naming(own, ADMIN_EMAIL))).trigramme == (await principal_of(eve)).trigramme
    assert hers in await models(naming(own, ADMIN_EMAIL))


async def test_who_may_not_serve_others_makes_no_such_key(admin: Side, eve: Side, front: Side) -> None:
    wanted = {"name": "x", "permissions": SERVES}
    assert (await eve.ask("POST", "/keys", wanted)).status_code == 403
    maker = await make_key(admin, permissions=["models:use", "keys:write"])
    assert (await with_key(admin, maker["key"]).ask("POST", "/keys", wanted)).status_code == 403
    assert (await front.ask("POST", "/keys", wanted)).status_code == 403
    me = (await admin.ask("GET", "/auth/me")).json()["id"]
    await admin.make_user("second@example.org", role="admin")
    second = await admin.as_user("second@example.org")
    assert (await second.ask("PATCH", f"/admin/users/{me}", {"role": "user"})).status_code == 200
    assert not (await principal_of(front)).serves_others, "it never does more than its owner may"


async def test_changes_to_a_user_are_felt_at_once(front: Side, admin: Side, eve: Side) -> None:
    served, eve_id = naming(front, EVE_EMAIL), (await eve.ask("GET", "/auth/me")).json()["id"]
    assert (await principal_of(served)).is_forwarded
    assert (await admin.ask("PATCH", f"/admin/users/{eve_id}", {"is_active": False})).status_code == 200
    refused = await served.client.get("/api/tags", headers=served.headers)
    assert refused.status_code == 401
    assert "suspended" in refused.json()["error"]
    assert (await admin.ask("PATCH", f"/admin/users/{eve_id}", {"is_active": True})).status_code == 200
    assert (await principal_of(served)).is_forwarded
    assert (await admin.ask("PATCH", f"/admin/users/{eve_id}", {"email": "evelyn@example.org"})).status_code == 200
    assert not (await principal_of(served)).is_forwarded
    assert (await principal_of(naming(front, "evelyn@example.org"))).is_forwarded
    made = await admin.ask("POST", "/admin/roles", {"name": "none", "permissions": []})
    assert made.status_code == 201
    assert (await admin.ask("PATCH", f"/admin/users/{eve_id}", {"role": "none"})).status_code == 200
    assert (await principal_of(naming(front, "evelyn@example.org"))).permissions == frozenset()
    assert (await admin.ask("DELETE", f"/admin/users/{eve_id}")).status_code == 204
    assert not (await principal_of(naming(front, "evelyn@example.org"))).is_forwarded


async def test_a_user_costs_one_look_a_minute(front: Side, eve: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    del eve
    served = naming(front, EVE_EMAIL)
    first = await principal_of(served)

    def no_look(*_arguments: object) -> Any:
        raise AssertionError("the store is asked")

    monkeypatch.setattr(front.container.database, "reading", no_look)
    assert await principal_of(served) == first


@pytest.mark.parametrize("ends", ["the user", "the key", "the key's owner", "somebody else"])
async def test_what_runs_for_a_user_ends_with_the_user_and_with_the_key(admin: Side, eve: Side, ends: str) -> None:
    operator = await admin.make_user("operator@example.org", role="admin")
    owner = await admin.as_user("operator@example.org")
    made = await make_key(owner, permissions=SERVES)
    bob = await admin.make_user("robert@example.org")
    served = await principal_of(naming(with_key(owner, made["key"]), EVE_EMAIL))
    running, cut, looked = admin.container.running, list[GatewayError](), asyncio.Event()
    running.track(served, cut.append)
    running.track(Principal("nobody", user_id=uuid.uuid4()), lambda _error: looked.set())
    eve_id = (await eve.ask("GET", "/auth/me")).json()["id"]
    suspend = partial(admin.ask, "PATCH", body={"is_active": False})
    if ends == "the key":
        assert (await owner.ask("DELETE", f"/keys/{made['id']}")).status_code == 204
    else:
        whose = {"the user": eve_id, "the key's owner": operator["id"], "somebody else": bob["id"]}[ends]
        assert (await suspend(f"/admin/users/{whose}")).status_code == 200
    await asyncio.wait_for(looked.wait(), 5)
    assert [error.status for error in cut] == ([] if ends == "somebody else" else [401])


async def test_strangers_to_the_gateway_can_be_refused(settings: Settings) -> None:
    accounts = settings.accounts.model_copy(update={"unknown_forwarded_users": "refuse"})
    async with open_side(settings.model_copy(update={"accounts": accounts})) as side:
        await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        admin = await side.as_user()
        front = with_key(admin, (await make_key(admin, permissions=SERVES))["key"])
        reply = await side.client.get("/api/tags", headers=naming(front, "nobody@example.org").headers)
        assert reply.status_code == 403
        assert "nobody@example.org" not in reply.text
        assert (await side.client.get("/api/tags", headers=front.headers)).status_code == 200
