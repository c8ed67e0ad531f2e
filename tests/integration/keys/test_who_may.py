"""Every verb on keys for everybody: the same verdict whoever asks in whatever way, and nothing told about the rest."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from backend.bootstrap.tables import METADATA
from backend.core.config import Settings
from backend.features.auth.principal import Permission
from tests.fakes.cli_identity import CliIdentity
from tests.integration.accounts.conftest import KEY, PASSWORD, Side, open_side
from tests.integration.keys.conftest import BOB_EMAIL, make_key, status, with_key

IDENTITY = CliIdentity(22)
NEW_PASSWORD = "quite another phrase"  # noqa: S105
VERBS: list[tuple[str, str, dict[str, Any] | None, int]] = [
    ("GET", "/keys/{key}", None, 200),
    ("PATCH", "/keys/{key}", {"name": "renamed"}, 200),
    ("POST", "/keys/{key}/rotate", {}, 200),
    ("DELETE", "/keys/{key}", None, 204),
    ("DELETE", "/public-keys/{public}", None, 204),
]
ADMIN_VERBS: list[tuple[str, str, int]] = [
    ("GET", "/admin/keys", 200),
    ("GET", "/admin/public-keys", 200),
    ("GET", "/admin/users/{user}/keys", 200),
    ("DELETE", "/admin/keys/{key}", 204),
    ("DELETE", "/admin/public-keys/{public}", 204),
]


@pytest.fixture
async def things(eve: Side) -> dict[str, str]:
    """What is Eve's."""
    public = await eve.ask("POST", "/public-keys", {"name": "x", "public_key": IDENTITY.line})
    user = (await eve.ask("GET", "/auth/me")).json()["id"]
    return {"key": (await make_key(eve))["id"], "public": public.json()["id"], "user": user}


async def callers(admin: Side, eve: Side, bob: Side) -> dict[str, tuple[Side, int | None]]:
    """Return who asks, and the status they get for Eve's things; None for the owner."""
    reader = (await make_key(eve, permissions=["models:use"]))["key"]
    writer = (await make_key(eve))["key"]
    foreign = (await make_key(bob))["key"]
    return {
        "anonymous": (with_key(eve, "none"), 401),
        "a settings key": (with_key(eve, KEY), 403),
        "a reading key of the owner": (with_key(eve, reader), 403),
        "another user": (bob, 404),
        "another user's key": (with_key(bob, foreign), 404),
        "an administrator": (admin, 404),
        "a key of the owner": (with_key(eve, writer), None),
        "the owner": (eve, None),
    }


async def test_the_owner_alone_reaches_a_key(admin: Side, eve: Side, bob: Side, things: dict[str, str]) -> None:
    ghost = dict.fromkeys(things, "00000000-0000-4000-8000-000000000000")
    for who, (side, refused) in (await callers(admin, eve, bob)).items():
        for method, path, body, fine in VERBS:
            if refused is None and method == "DELETE" and who != "the owner":
                continue
            reply = await side.ask(method, path.format(**things), body)
            assert reply.status_code == (refused or fine), (who, method, path, reply.text)
            if refused == 404:
                assert reply.text == (await side.ask(method, path.format(**ghost), body)).text


async def test_those_who_look_after_keys_see_and_revoke_them(
    admin: Side, eve: Side, bob: Side, things: dict[str, str]
) -> None:
    narrow = with_key(admin, (await make_key(admin, permissions=["models:use", "keys:write"]))["key"])
    broad = with_key(admin, (await make_key(admin, permissions=["keys:manage"]))["key"])
    for side in (eve, bob, narrow):
        for method, path, _fine in ADMIN_VERBS:
            assert (await side.ask(method, path.format(**things))).status_code == 403
    for method, path, fine in ADMIN_VERBS:
        reply = await broad.ask(method, path.format(**things))
        assert reply.status_code == fine, (path, reply.text)
        assert "hash" not in reply.text
    assert (await admin.ask("GET", f"/admin/users/{things['user']}/keys")).json()["items"][0]["revoked_at"] is not None
    assert (await admin.ask("GET", f"/admin/users/{things['key']}/keys")).status_code == 404


async def test_every_change_is_written_down_and_no_key_is(admin: Side, eve: Side, things: dict[str, str]) -> None:
    made = await make_key(eve, models=["small"])
    await eve.ask("PATCH", f"/keys/{made['id']}", {"name": "other"})
    renewed = (await eve.ask("POST", f"/keys/{made['id']}/rotate", {"overlap_minutes": 5})).json()
    await eve.ask("DELETE", f"/keys/{made['id']}")
    await eve.ask("DELETE", f"/public-keys/{things['public']}")
    trail = (await admin.ask("GET", "/admin/audit?limit=100")).json()["items"]
    mine = [entry for entry in trail if entry["object_id"] in {made["id"], things["public"]}]
    assert sorted(entry["action"] for entry in mine) == [
        *("key.create", "key.revoke", "key.rotate", "key.update"),
        *("public_key.create", "public_key.delete"),
    ]
    assert {entry["owner_id"] for entry in mine} == {things["user"]}
    for key in (made["key"], renewed["key"]):
        assert key not in json.dumps(trail)


async def test_the_database_holds_no_key(eve: Side, admin: Side) -> None:
    made = await make_key(eve)
    assert await status(eve, made["key"]) == 200
    renewed = (await eve.ask("POST", f"/keys/{made['id']}/rotate", {"overlap_minutes": 5})).json()
    dump = ""
    async with admin.container.database.reading() as reading:
        for table in METADATA.sorted_tables:
            dump += repr((await reading.execute(text(f"select * from {table.name}"))).all())  # noqa: S608 (our names)
    assert made["hint"] != renewed["hint"]
    assert renewed["hint"] in dump
    for key in (made["key"], renewed["key"]):
        assert key[4:-4] not in dump


async def test_another_gateway_on_the_database_knows_the_keys(settings: Settings, admin: Side) -> None:
    await admin.make_user(BOB_EMAIL)
    made = await make_key(await admin.as_user(BOB_EMAIL))
    async with open_side(settings) as other:
        assert await status(other, made["key"]) == 200


GRANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/admin/users", {"email": "new@example.org", "password": NEW_PASSWORD, "role": "admin"}),
    ("POST", "/admin/users", {"email": "new@example.org", "password": NEW_PASSWORD, "role": "user"}),
    ("POST", "/admin/users/{me}/password", {"password": NEW_PASSWORD}),
    ("PATCH", "/admin/users/{eve}", {"role": "admin"}),
    ("PATCH", "/admin/users/{eve}", {"email": "mallory@example.org"}),
    ("PATCH", "/admin/users/{eve}", {"is_active": True}),
    ("POST", "/admin/roles", {"name": "more", "permissions": ["models:use"]}),
    ("PATCH", "/admin/roles/{role}", {"permissions": ["models:use", "users:manage"]}),
    ("POST", "/public-keys", {"name": "x", "public_key": CliIdentity(77).line}),
    ("PATCH", "/auth/me", {"password": NEW_PASSWORD, "current_password": PASSWORD}),
]
BOUNDS: list[dict[str, Any]] = [
    {"expires_in_days": 1},
    {"models": ["small"]},
    {"networks": ["127.0.0.0/8"]},
    {"permissions": sorted(Permission)},
    {"requests_per_minute": 1000},
]


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
async def test_no_bound_key_makes_what_has_none_of_its_bounds(admin: Side, eve: Side, bound: dict[str, Any]) -> None:
    made = await admin.ask("POST", "/admin/roles", {"name": "some", "permissions": ["models:use"]})
    ids = {
        "me": (await admin.ask("GET", "/auth/me")).json()["id"],
        "eve": (await eve.ask("GET", "/auth/me")).json()["id"],
        "role": made.json()["id"],
    }
    key = with_key(admin, (await make_key(admin, **{"expires_in_days": None, **bound}))["key"])
    for method, path, body in GRANTS:
        refused = await key.ask(method, path.format(**ids), body)
        assert refused.status_code == 403, (method, path, refused.text)
    assert (await key.ask("PATCH", f"/admin/users/{ids['eve']}", {"is_active": False})).status_code == 200
    assert (await key.ask("DELETE", f"/admin/users/{ids['eve']}")).status_code == 204


async def test_an_administrator_s_unbound_key_and_a_key_of_the_settings_do_what_they_may(admin: Side) -> None:
    key = with_key(admin, (await make_key(admin, expires_in_days=None))["key"])
    await key.make_user("new@example.org", role="admin")
