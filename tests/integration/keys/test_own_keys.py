"""Keys of one's own: made, listed, changed, renewed, revoked, and bound."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backend.core.errors import NotAuthenticated
from backend.features.auth.principal import USER_PERMISSIONS, Principal
from backend.features.keys.format import is_well_formed, new_key
from backend.features.keys.models import ApiKey, PublicKey
from tests.fakes.cli_identity import CliIdentity
from tests.integration.accounts.conftest import KEY, PASSWORD, Side
from tests.integration.keys.conftest import EVE_EMAIL, make_key, status, with_key

IDENTITY = CliIdentity(21)


async def known(side: Side, key: str, peer: str = "192.0.2.1") -> Principal:
    """Return who shows a key from an address."""
    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope = {"method": "GET", "path": "/", "query_string": b"", "headers": headers, "client": (peer, 1)}
    return await side.container.authenticator.authenticate(scope)


async def test_a_key_is_shown_once_and_lets_its_owner_in(eve: Side) -> None:
    reply = await eve.ask("POST", "/keys", {"name": "laptop"})
    assert (reply.status_code, reply.headers["cache-control"]) == (201, "no-store")
    made = reply.json()
    key = made.pop("key")
    assert is_well_formed(key)
    assert made["hint"] == f"psl_…{key[-4:]}"
    assert made["expires_at"] is not None
    assert (await with_key(eve, key).ask("GET", "/auth/me")).json()["email"] == EVE_EMAIL
    for path in ("/keys", f"/keys/{made['id']}"):
        listed = await eve.ask("GET", path)
        assert key not in listed.text
        assert "key_hash" not in listed.text
    principal = await known(eve, key)
    assert (principal.permissions, principal.models) == (USER_PERMISSIONS, None)


async def test_keys_of_the_settings_go_on_working(eve: Side) -> None:
    assert (await known(eve, KEY)).user_id is None
    refused = await with_key(eve, KEY).ask("GET", "/keys")
    assert refused.status_code == 403


async def test_an_ordinary_key_makes_no_keys_unless_it_may(eve: Side) -> None:
    reader = await make_key(eve, permissions=["models:use"])
    own = f"/keys/{reader['id']}"
    for method, path in (("GET", "/keys"), ("POST", "/keys"), ("GET", "/public-keys"), ("DELETE", own)):
        assert (await with_key(eve, reader["key"]).ask(method, path, {"name": "x"})).status_code == 403
    writer = await make_key(eve, permissions=["models:use", "keys:write"])
    child = await make_key(with_key(eve, writer["key"]))
    assert child["permissions"] == ["keys:write", "models:use"]


async def test_a_key_never_has_more_than_its_owner(admin: Side, eve: Side) -> None:
    refused = await eve.ask("POST", "/keys", {"name": "x", "permissions": ["models:use", "users:manage"]})
    assert refused.status_code == 403
    assert "users:manage" in refused.json()["detail"]
    made = await admin.ask("POST", "/admin/roles", {"name": "small", "permissions": ["models:use"]})
    assert made.status_code == 201
    key = (await make_key(eve, permissions=["models:use", "keys:write"]))["key"]
    assert len((await known(eve, key)).permissions) == 2
    user_id = (await eve.ask("GET", "/auth/me")).json()["id"]
    assert (await admin.ask("PATCH", f"/admin/users/{user_id}", {"role": "small"})).status_code == 200
    assert (await known(eve, key)).permissions == {"models:use"}
    role_id = made.json()["id"]
    assert (await admin.ask("PATCH", f"/admin/roles/{role_id}", {"permissions": []})).status_code == 200
    assert (await known(eve, key)).permissions == frozenset()


ESCALATIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"permissions": ["keys:write"]}, {"permissions": ["keys:write", "models:use"]}),
    ({"models": ["small"]}, {"models": ["small", "large"]}),
    ({"networks": ["127.0.0.0/8"]}, {"networks": ["0.0.0.0/0"]}),
    ({"requests_per_minute": 1000}, {"requests_per_minute": 1}),
    ({"tokens_per_day": 1000}, {"tokens_per_day": 1}),
]


@pytest.mark.parametrize(("own", "wanted"), ESCALATIONS, ids=str)
async def test_a_key_makes_no_wider_key(eve: Side, own: dict[str, Any], wanted: dict[str, Any]) -> None:
    narrow = with_key(eve, (await make_key(eve, **own))["key"])
    refused = await narrow.ask("POST", "/keys", {"name": "x", "expires_in_days": 1, **wanted})
    assert refused.status_code == 403, refused.text
    assert (await eve.ask("GET", "/keys")).json()["total"] == 1


async def test_what_is_not_said_about_a_key_comes_from_the_key_it_is_made_with(eve: Side) -> None:
    bounds: dict[str, Any] = {
        "permissions": ["keys:write", "models:use"],
        "models": ["small:latest"],
        "networks": ["127.0.0.0/8"],
    }
    narrow = with_key(eve, (await make_key(eve, **bounds))["key"])
    child = await make_key(narrow, expires_in_days=1)
    assert {name: child[name] for name in bounds} == bounds


@pytest.mark.parametrize("days", [None, 90])
async def test_a_key_ends_with_the_key_it_was_made_with(eve: Side, days: int | None) -> None:
    made = await make_key(eve, expires_in_days=5)
    child = await make_key(with_key(eve, made["key"]), expires_in_days=days)
    assert child["expires_at"] == made["expires_at"]
    refused = await with_key(eve, child["key"]).ask("PATCH", f"/keys/{child['id']}", {"expires_in_days": days})
    assert refused.status_code == 403


async def test_a_narrow_key_neither_widens_itself_nor_gets_hold_of_a_wider_one(eve: Side) -> None:
    wide = await make_key(eve)
    made = await make_key(eve, models=["small"], permissions=["keys:write", "models:use"])
    narrow = with_key(eve, made["key"])
    for key_id in (made["id"], wide["id"]):
        for body in ({"models": None}, {"models": ["large"]}, {"expires_in_days": 3650}):
            assert (await narrow.ask("PATCH", f"/keys/{key_id}", body)).status_code == 403, body
    assert (await narrow.ask("POST", f"/keys/{wide['id']}/rotate", {})).status_code == 403
    line = {"name": "x", "public_key": IDENTITY.line}
    assert (await narrow.ask("POST", "/public-keys", line)).status_code == 403
    assert (await narrow.ask("POST", f"/keys/{made['id']}/rotate", {})).status_code == 200
    assert (await eve.ask("GET", f"/keys/{made['id']}")).json()["models"] == ["small:latest"]


async def test_a_key_changes_neither_the_account_nor_its_sessions(eve: Side) -> None:
    key = with_key(eve, (await make_key(eve))["key"])
    [session] = (await eve.ask("GET", "/sessions")).json()["items"]
    for method, path, body in (
        ("PATCH", "/auth/me", {"name": "Mallory"}),
        ("PATCH", "/auth/me", {"password": "quite another phrase", "current_password": PASSWORD}),
        ("GET", "/sessions", None),
        ("DELETE", f"/sessions/{session['id']}", None),
    ):
        assert (await key.ask(method, path, body)).status_code == 403, path
    assert (await key.ask("POST", "/auth/logout")).status_code == 400
    assert (await eve.ask("GET", "/auth/me")).status_code == 200


async def test_a_key_is_good_from_its_networks_only(eve: Side) -> None:
    key = (await make_key(eve, networks=["192.0.2.0/24", "2001:db8::/48"]))["key"]
    for peer in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::9"):
        assert (await known(eve, key, peer)).user_id is not None
    for peer in ("192.0.3.9", "127.0.0.1", "", "2001:db9::9"):
        with pytest.raises(NotAuthenticated):
            await known(eve, key, peer)
    named = {"x-forwarded-for": "192.0.2.9", "x-real-ip": "192.0.2.9", "forwarded": "for=192.0.2.9"}
    assert (await with_key(eve, key).ask("GET", "/auth/me", headers=named)).status_code == 401


async def test_a_key_that_was_used_too_often_waits(eve: Side) -> None:
    key = (await make_key(eve, requests_per_minute=2))["key"]
    assert [await status(eve, key) for _ in range(3)] == [200, 200, 429]
    told = await with_key(eve, key).ask("GET", "/auth/me")
    assert 1 <= int(told.headers["retry-after"]) <= 60
    assert "2 requests a minute" in told.json()["detail"]


async def test_a_request_counts_once_however_often_its_policy_runs(eve: Side) -> None:
    made = await make_key(eve, requests_per_minute=3)
    for _ in range(3):
        assert (await with_key(eve, made["key"]).ask("GET", "/keys")).status_code == 200
    assert (await with_key(eve, made["key"]).ask("GET", "/keys")).status_code == 429


async def test_what_changes_about_a_key_counts_at_once(eve: Side) -> None:
    made = await make_key(eve, models=["me/legal", "Small", "small:latest"])
    trigramme = (await eve.ask("GET", "/auth/me")).json()["trigramme"]
    assert made["models"] == [f"{trigramme}/legal:latest", "Small:latest", "small:latest"]
    assert (await known(eve, made["key"])).models == {
        f"registry.ollama.ai/{trigramme}/legal:latest",
        "registry.ollama.ai/library/small:latest",
    }
    change = {"name": "other", "models": ["large"], "expires_in_days": None, "requests_per_minute": 7}
    changed = (await eve.ask("PATCH", f"/keys/{made['id']}", change)).json()
    assert (changed["name"], changed["models"], changed["expires_at"]) == ("other", ["large:latest"], None)
    principal = await known(eve, made["key"])
    assert (principal.models, principal.requests_per_minute) == ({"registry.ollama.ai/library/large:latest"}, 7)
    freed = (await eve.ask("PATCH", f"/keys/{made['id']}", {"models": None})).json()
    assert (freed["models"], freed["requests_per_minute"]) == (None, 7)


async def test_a_renewed_key_replaces_the_old_one_at_once_or_later(eve: Side) -> None:
    made = await make_key(eve)
    await known(eve, made["key"])
    now = await eve.ask("POST", f"/keys/{made['id']}/rotate", {})
    assert (now.status_code, now.headers["cache-control"], now.json()["id"]) == (200, "no-store", made["id"])
    assert [await status(eve, key) for key in (made["key"], now.json()["key"])] == [401, 200]
    later = (await eve.ask("POST", f"/keys/{made['id']}/rotate", {"overlap_minutes": 60})).json()
    assert later["previous_until"] is not None
    assert [await status(eve, key) for key in (now.json()["key"], later["key"])] == [200, 200]
    assert (await eve.ask("DELETE", f"/keys/{made['id']}")).status_code == 204
    assert [await status(eve, key) for key in (now.json()["key"], later["key"])] == [401, 401]
    for method, path in (("PATCH", ""), ("POST", "/rotate")):
        assert (await eve.ask(method, f"/keys/{made['id']}{path}", {})).status_code == 409


async def test_a_revoked_key_is_refused_at_once(eve: Side) -> None:
    made = await make_key(eve)
    assert await status(eve, made["key"]) == 200
    for _ in range(2):
        assert (await eve.ask("DELETE", f"/keys/{made['id']}")).status_code == 204
    assert await status(eve, made["key"]) == 401
    assert (await eve.ask("GET", f"/keys/{made['id']}")).json()["revoked_at"] is not None


async def suspend(admin: Side, user_id: str) -> None:
    assert (await admin.ask("PATCH", f"/admin/users/{user_id}", {"is_active": False})).status_code == 200


async def remove(admin: Side, user_id: str) -> None:
    assert (await admin.ask("DELETE", f"/admin/users/{user_id}")).status_code == 204


@pytest.mark.parametrize("end", [suspend, remove])
async def test_keys_end_with_their_owners_account(
    admin: Side, eve: Side, end: Callable[[Side, str], Awaitable[None]]
) -> None:
    key = (await make_key(eve))["key"]
    assert (await eve.ask("POST", "/public-keys", {"name": "x", "public_key": IDENTITY.line})).status_code == 201
    assert await status(eve, key) == 200
    identities = admin.container.keys.identities
    assert await identities.find(IDENTITY.public_key) is not None
    user_id = (await eve.ask("GET", "/auth/me")).json()["id"]
    await end(admin, user_id)
    assert await status(eve, key) == 401
    assert await identities.find(IDENTITY.public_key) is None
    if end is suspend:
        assert (await admin.ask("PATCH", f"/admin/users/{user_id}", {"is_active": True})).status_code == 200
        assert await status(eve, key) == 200


async def test_a_public_key_calls_as_its_owner_with_the_verbs_of_the_command(eve: Side, bob: Side) -> None:
    body = {"name": "laptop", "public_key": IDENTITY.line}
    made = (await eve.ask("POST", "/public-keys", body)).json()
    assert made["blob"] == IDENTITY.public_key
    principal = await eve.container.keys.identities.find(IDENTITY.public_key)
    assert principal is not None
    assert principal.permissions == {"models:use", "agents:write", "agents:publish"}
    again = {"name": "mine", "public_key": IDENTITY.public_key}
    assert (await bob.ask("POST", "/public-keys", again)).status_code == 409
    assert (await bob.ask("GET", "/public-keys")).json()["total"] == 0
    assert (await bob.ask("DELETE", f"/public-keys/{made['id']}")).status_code == 404
    assert (await eve.ask("DELETE", f"/public-keys/{made['id']}")).status_code == 204
    assert await eve.container.keys.identities.find(IDENTITY.public_key) is None
    assert (await bob.ask("POST", "/public-keys", again)).status_code == 201


KEY_BODY = {"name": "x"}
COLUMNS = sorted({column.name for column in ApiKey.__table__.columns} - {"name", "permissions", "models", "networks"})
BAD: list[tuple[str, dict[str, Any]]] = [
    *[("/keys", {**KEY_BODY, n: 1}) for n in [*COLUMNS, "owner_id", "key", "is_admin"] if "_per_" not in n],
    *[("/keys", {**KEY_BODY, "expires_in_days": days}) for days in (3651, -1, "x", 1.5)],
    *[("/keys", {**KEY_BODY, "models": models}) for models in ([], ["a b"], ["x" * 601], ["a"] * 101, "a", [1])],
    *[("/keys", {**KEY_BODY, "networks": nets}) for nets in ([], ["here"], ["192.0.2.1/24"], ["::/0"] * 51, [""])],
    *[("/keys", {**KEY_BODY, "requests_per_minute": number}) for number in (0, 10_001, -1, "many")],
    *[("/keys", {**KEY_BODY, "tokens_per_day": number}) for number in (0, 2**31, -1)],
    *[("/keys", {**KEY_BODY, "permissions": given}) for given in (["nothing"], "models:use", [None])],
    *[("/keys", {"name": name}) for name in ("", " ", "x" * 101, "a\u0000b", "a\nb", None)],
    *[("/public-keys", {**KEY_BODY, "public_key": text}) for text in ("", "ssh-rsa AAAA x", "A" * 68, "x" * 1001)],
    *[
        ("/public-keys", {**KEY_BODY, "public_key": IDENTITY.line, n: 1})
        for n in sorted({column.name for column in PublicKey.__table__.columns} - {"name"})
    ],
]


async def test_only_named_and_well_formed_fields_are_taken(eve: Side) -> None:
    for path, body in BAD:
        assert (await eve.ask("POST", path, body)).status_code == 422, (path, body)
    made = await make_key(eve)
    for change in ({"permissions": ["models:use"]}, {"name": None}, {"user_id": str(uuid.uuid4())}, {"key_hash": "x"}):
        assert (await eve.ask("PATCH", f"/keys/{made['id']}", change)).status_code == 422, change
    for overlap in (-1, 1441, "x"):
        reply = await eve.ask("POST", f"/keys/{made['id']}/rotate", {"overlap_minutes": overlap})
        assert reply.status_code == 422
    assert (await eve.ask("GET", "/keys")).json()["total"] == 1


async def test_a_wrong_key_is_refused_in_one_way(eve: Side) -> None:
    told = {(await with_key(eve, key).ask("GET", "/keys")).text for key in (new_key(), new_key()[:-1], "psl_x" * 5)}
    assert len(told) == 1
