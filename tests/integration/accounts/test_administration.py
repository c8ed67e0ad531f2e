"""Users, roles, sessions of others, the audit log, the backends."""

import asyncio
import uuid
from typing import Any

import pytest

from backend.core.errors import NotAuthenticated
from backend.features.accounts.administration import UserChange
from backend.features.accounts.models import User
from backend.features.audit.service import Caller
from backend.features.auth.principal import OPERATOR, Permission
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side

NEW_PASSWORD = "quite another phrase"  # noqa: S105


async def role_id(side: Side, name: str) -> str:
    items = (await side.ask("GET", "/admin/roles")).json()["items"]
    return str(next(item["id"] for item in items if item["name"] == name))


async def make_role(side: Side, name: str, *permissions: str) -> dict[str, Any]:
    reply = await side.ask("POST", "/admin/roles", {"name": name, "permissions": list(permissions)})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_users_are_made_listed_changed_and_removed(admin: Side) -> None:
    user = await admin.make_user("Bob.Builder@Example.org", name="Bob Builder")
    assert (user["email"], user["trigramme"], user["role"]["name"]) == ("bob.builder@example.org", "bbu", "user")
    page = (await admin.ask("GET", "/admin/users?skip=1&limit=1")).json()
    assert (page["total"], page["skip"], page["limit"], len(page["items"])) == (2, 1, 1, 1)
    assert page["items"][0]["id"] == user["id"]
    changed = await admin.ask("PATCH", f"/admin/users/{user['id']}", {"name": "Bob", "email": "bob@example.org"})
    assert (changed.json()["name"], changed.json()["email"]) == ("Bob", "bob@example.org")
    assert (await admin.ask("GET", f"/admin/users/{user['id']}")).json() == changed.json()
    assert (await admin.ask("DELETE", f"/admin/users/{user['id']}")).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await admin.ask(method, f"/admin/users/{user['id']}")).status_code == 404
    assert (await admin.actions())[:3] == ["user.delete", "user.update", "user.create"]


async def test_what_is_taken_is_a_conflict(admin: Side) -> None:
    bob = await admin.make_user("bob@example.org", trigramme="bob")
    for body in (
        {"email": "BOB@example.org", "password": PASSWORD},
        {"email": "rob@example.org", "password": PASSWORD, "trigramme": "bob"},
    ):
        assert (await admin.ask("POST", "/admin/users", body)).status_code == 409
    assert (await admin.make_user("bob@elsewhere.org"))["trigramme"] not in {"bob", "ada"}
    taken = await admin.ask("PATCH", f"/admin/users/{bob['id']}", {"email": ADMIN_EMAIL})
    assert taken.status_code == 409


async def test_people_who_come_at_once_get_trigrammes_of_their_own(admin: Side) -> None:
    made = await asyncio.gather(*[admin.make_user(f"eve@host{number}.org") for number in range(6)])
    assert len({user["trigramme"] for user in made}) == 6


GOOD = {"email": "bob@example.org", "password": PASSWORD}
BAD: list[dict[str, Any]] = [
    {"email": "bob@example.org"},
    GOOD | {"email": "bob"},
    GOOD | {"password": "short"},
    GOOD | {"password": "x" * 129},
    GOOD | {"trigramme": "Bo1"},
    GOOD | {"trigramme": "bobb"},
    GOOD | {"role": "Not A Role"},
    GOOD | {"name": "a\u0000b"},
    *[GOOD | {name: 1} for name in (*User.__table__.columns.keys(), "is_admin", "permissions") if name not in GOOD],
]


async def test_only_named_and_well_formed_fields_are_taken(admin: Side) -> None:
    for body in BAD:
        assert (await admin.ask("POST", "/admin/users", body)).status_code == 422, body
    assert (await admin.ask("GET", "/admin/users")).json()["total"] == 1


async def test_server_owned_fields_cannot_be_patched(admin: Side) -> None:
    bob = await admin.make_user("bob@example.org")
    as_bob = await admin.as_user("bob@example.org")
    for column in ("id", "role", "role_id", "is_active", "token_version", "email", "password_hash", "oidc_subject"):
        assert (await as_bob.ask("PATCH", "/auth/me", {column: "admin"})).status_code == 422
    for column in ("id", "role_id", "token_version", "password_hash", "password", "oidc_subject", "created_at"):
        assert (await admin.ask("PATCH", f"/admin/users/{bob['id']}", {column: "x"})).status_code == 422
    assert (await admin.ask("GET", f"/admin/users/{bob['id']}")).json()["role"]["name"] == "user"


async def test_the_commonest_passwords_are_refused(admin: Side) -> None:
    for password in ("password1234", "Passw0rd!2026", "123456789012", "aaaaaaaaaaaa", "azerty123456"):
        reply = await admin.ask("POST", "/admin/users", GOOD | {"password": password})
        assert reply.status_code == 400
        assert password not in reply.text


async def test_spaces_belong_to_a_password(admin: Side) -> None:
    await admin.make_user("bob@example.org", password=f"  {PASSWORD}  ")
    refused = await admin.ask("POST", "/auth/login", {"email": "bob@example.org", "password": PASSWORD})
    assert refused.status_code == 401
    await admin.login("bob@example.org", f"  {PASSWORD}  ")


async def test_suspending_somebody_ends_all_they_have_at_once(admin: Side) -> None:
    bob = await admin.make_user("bob@example.org")
    tokens = await admin.login("bob@example.org")
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    assert (await admin.client.get("/api/tags", headers=headers)).status_code == 200
    reply = await admin.ask("PATCH", f"/admin/users/{bob['id']}", {"is_active": False})
    assert reply.json()["is_active"] is False
    assert (await admin.client.get("/api/tags", headers=headers)).status_code == 401
    assert (await admin.ask("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status_code == 401
    assert (await admin.ask("GET", f"/admin/users/{bob['id']}/sessions")).json()["total"] == 0
    await admin.ask("PATCH", f"/admin/users/{bob['id']}", {"is_active": True})
    assert (await admin.client.get("/api/tags", headers=headers)).status_code == 401, "what ended stays ended"
    await admin.login("bob@example.org")
    assert {"user.suspend", "user.reactivate"} <= set(await admin.actions())


async def test_another_process_notices_a_suspension_within_the_minute(admin: Side) -> None:
    bob = await admin.make_user("bob@example.org")
    tokens = await admin.login("bob@example.org")
    known = admin.container.accounts.sessions.known
    now = [0.0]
    known._clock = lambda: now[0]
    elsewhere = admin.container.accounts.sessions.access_tokens
    assert await elsewhere.find(tokens["access_token"]) is not None
    async with admin.container.database.transaction() as transaction:
        row = await transaction.get(User, uuid.UUID(bob["id"]))
        assert row is not None
        row.is_active = False
    now[0] = 59.0
    assert await elsewhere.find(tokens["access_token"]) is not None
    now[0] = 60.0
    assert await elsewhere.find(tokens["access_token"]) is None


async def test_a_reset_password_ends_the_sessions(admin: Side) -> None:
    bob = await admin.make_user("bob@example.org")
    as_bob = await admin.as_user("bob@example.org")
    assert (
        await admin.ask("POST", f"/admin/users/{bob['id']}/password", {"password": NEW_PASSWORD})
    ).status_code == 204
    assert (await as_bob.ask("GET", "/auth/me")).status_code == 401
    await admin.login("bob@example.org", NEW_PASSWORD)


async def test_the_last_administrator_and_oneself_stay(admin: Side) -> None:
    me = (await admin.ask("GET", "/auth/me")).json()["id"]
    for method, body in [("DELETE", None), ("PATCH", {"is_active": False}), ("PATCH", {"role": "user"})]:
        assert (await admin.ask(method, f"/admin/users/{me}", body)).status_code == 409
    eve = await admin.make_user("eve@example.org", role="admin")
    assert (await admin.ask("DELETE", f"/admin/users/{me}")).status_code == 409, "oneself"
    refused = await admin.ask("PATCH", f"/admin/users/{me}", {"role": "user"})
    assert (refused.status_code, "yourself" in refused.json()["detail"]) == (409, True)
    as_eve = await admin.as_user("eve@example.org")
    assert (await as_eve.ask("PATCH", f"/admin/users/{me}", {"is_active": False})).status_code == 200
    assert (await as_eve.ask("PATCH", f"/admin/users/{eve['id']}", {"role": "user"})).status_code == 409


async def test_two_administrators_who_demote_each_other_leave_one(admin: Side) -> None:
    me = (await admin.ask("GET", "/auth/me")).json()["id"]
    eve = await admin.make_user("eve@example.org", role="admin")
    users = admin.container.accounts.users
    ids = [uuid.UUID(me), uuid.UUID(eve["id"])]
    change = UserChange(role="user")
    done = await asyncio.gather(*[users.update(Caller(OPERATOR), each, change) for each in ids], return_exceptions=True)
    assert sum(isinstance(each, Exception) for each in done) == 1


async def test_nobody_gives_or_touches_what_is_above_them(admin: Side) -> None:
    me = (await admin.ask("GET", "/auth/me")).json()["id"]
    session = (await admin.ask("GET", "/sessions")).json()["items"][0]["id"]
    await make_role(admin, "helpdesk", "models:use", "users:manage", "roles:manage")
    await make_role(admin, "auditor", "audit:read")
    await admin.make_user("hal@example.org", role="helpdesk")
    hal = await admin.as_user("hal@example.org")
    body = {"email": "new@example.org", "password": PASSWORD, "role": "admin"}
    assert (await hal.ask("POST", "/admin/users", body)).status_code == 403
    for request in [
        ("POST", f"/admin/users/{me}/password", {"password": NEW_PASSWORD}),
        ("PATCH", f"/admin/users/{me}", {"is_active": False}),
        ("PATCH", f"/admin/users/{me}", {"email": "hal2@example.org"}),
        ("DELETE", f"/admin/users/{me}", None),
        ("DELETE", f"/admin/sessions/{session}", None),
        ("POST", "/admin/roles", {"name": "all", "permissions": ["models:use", "audit:read"]}),
        ("PATCH", f"/admin/roles/{await role_id(admin, 'auditor')}", {"permissions": ["models:use"]}),
        ("PATCH", f"/admin/roles/{await role_id(admin, 'helpdesk')}", {"permissions": ["audit:read"]}),
        ("GET", "/admin/audit", None),
        ("GET", "/admin/backends", None),
    ]:
        assert (await hal.ask(*request)).status_code == 403, request
    assert (await hal.ask("POST", "/admin/roles", {"name": "few", "permissions": ["models:use"]})).status_code == 201
    own = next(u["id"] for u in (await hal.ask("GET", "/admin/users")).json()["items"] if u["email"].startswith("hal"))
    assert (await hal.ask("PATCH", f"/admin/users/{own}", {"role": "admin"})).status_code == 403


async def test_roles_are_made_changed_and_removed_and_their_users_feel_it_at_once(admin: Side) -> None:
    made = await make_role(admin, "reader", "models:use")
    await admin.make_user("bob@example.org", role="reader")
    bob = await admin.as_user("bob@example.org")
    assert (await bob.ask("GET", "/admin/audit")).status_code == 403
    body = {"permissions": ["models:use", "audit:read"], "description": "Reads.", "name": "auditor"}
    changed = await admin.ask("PATCH", f"/admin/roles/{made['id']}", body)
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["permissions"]) == ("auditor", ["audit:read", "models:use"])
    assert (await bob.ask("GET", "/admin/audit")).status_code == 200
    assert (await admin.ask("DELETE", f"/admin/roles/{made['id']}")).status_code == 409, "in use"
    bob_id = (await bob.ask("GET", "/auth/me")).json()["id"]
    assert (await admin.ask("PATCH", f"/admin/users/{bob_id}", {"role": "user"})).status_code == 200
    assert (await bob.ask("GET", "/auth/me")).status_code == 401, "another role, another token"
    assert (await admin.ask("DELETE", f"/admin/roles/{made['id']}")).status_code == 204
    assert (await admin.ask("GET", f"/admin/roles/{made['id']}")).status_code == 404


async def test_built_in_roles_stay_as_they_are(admin: Side) -> None:
    for name in ("admin", "user"):
        path = f"/admin/roles/{await role_id(admin, name)}"
        assert (await admin.ask("PATCH", path, {"permissions": []})).status_code == 409
        assert (await admin.ask("DELETE", path)).status_code == 409
    taken = await admin.ask("POST", "/admin/roles", {"name": "admin", "permissions": []})
    assert taken.status_code == 409
    unknown = await admin.ask("POST", "/admin/roles", {"name": "odd", "permissions": ["everything"]})
    assert unknown.status_code == 422
    assert (await admin.ask("POST", "/admin/users", {"email": "b@example.org", "password": PASSWORD, "role": "odd"})
            ).status_code == 400  # fmt: skip


async def test_sessions_of_others_are_seen_and_ended(admin: Side) -> None:
    bob = await admin.make_user("bob@example.org")
    as_bob = await admin.as_user("bob@example.org")
    sessions = (await admin.ask("GET", f"/admin/users/{bob['id']}/sessions")).json()
    assert sessions["total"] == 1
    assert (await admin.ask("GET", "/admin/sessions")).json()["total"] == 2
    assert (await admin.ask("DELETE", f"/admin/sessions/{sessions['items'][0]['id']}")).status_code == 204
    assert (await as_bob.ask("GET", "/auth/me")).status_code == 401
    assert (await admin.ask("GET", f"/admin/users/{uuid.uuid4()}/sessions")).status_code == 404


async def test_ordinary_users_administer_nothing(admin: Side) -> None:
    await admin.make_user("bob@example.org")
    bob = await admin.as_user("bob@example.org")
    for path in ("users", "roles", "sessions", "audit", "backends", f"users/{uuid.uuid4()}"):
        assert (await bob.ask("GET", f"/admin/{path}")).status_code == 403
        assert (await Side(bob.client, bob.container).ask("GET", f"/admin/{path}")).status_code == 401


async def test_the_audit_log_tells_who_did_what_in_which_request(admin: Side) -> None:
    me = (await admin.ask("GET", "/auth/me")).json()["id"]
    body = {"email": "bob@example.org", "password": PASSWORD}
    made = (await admin.ask("POST", "/admin/users", body, headers={"x-request-id": "asked-7"})).json()
    found = (await admin.ask("GET", f"/admin/audit?action=user.create&actor={me}&object={made['id']}")).json()
    assert found["total"] == 1
    entry = found["items"][0]
    assert (entry["actor"], entry["request_id"], entry["owner_id"]) == (me, "asked-7", made["id"])
    assert entry["details"] == {"role": "user", "trigramme": made["trigramme"]}
    later = (await admin.ask("GET", "/admin/audit?since=2999-01-01T00:00:00")).json()
    assert later["total"] == 0
    assert (await admin.ask("GET", "/admin/audit?limit=101")).status_code == 422


async def test_a_change_that_fails_is_not_in_the_log(admin: Side) -> None:
    before = await admin.actions()
    body = {"email": ADMIN_EMAIL, "password": PASSWORD}
    assert (await admin.ask("POST", "/admin/users", body)).status_code == 409
    assert await admin.actions() == before


async def test_the_backends_are_shown_with_their_health(admin: Side) -> None:
    shown = (await admin.ask("GET", "/admin/backends")).json()
    assert shown["items"] == [
        {"name": "demo", "kind": "demo", "state": "ok", "last_error": "", "models": 1, "in_flight": 0}
    ]


async def test_a_removed_user_s_token_opens_nothing(admin: Side) -> None:
    bob = await admin.make_user("bob@example.org")
    tokens = await admin.login("bob@example.org")
    await admin.ask("DELETE", f"/admin/users/{bob['id']}")
    assert await admin.container.accounts.sessions.access_tokens.find(tokens["access_token"]) is None
    with pytest.raises(NotAuthenticated):
        await admin.container.accounts.sessions.refresh(tokens["refresh_token"], "", "")


async def test_an_administrator_may_do_everything_there_is(admin: Side) -> None:
    me = (await admin.ask("GET", "/auth/me")).json()
    assert me["permissions"] == sorted(Permission)


HOSTILE = ["a\r\nb", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\x00b"]
"""What would break a line, a terminal or a reader of the log."""


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
async def test_nothing_in_the_audit_log_or_in_what_it_names_can_forge_a_line(admin: Side, text: str) -> None:
    user = await admin.make_user("bob@example.org")
    role = await make_role(admin, "reader", "models:use")
    for method, path, body in [
        ("PATCH", "/auth/me", {"name": text}),
        ("PATCH", f"/admin/users/{user['id']}", {"name": text}),
        ("PATCH", f"/admin/users/{user['id']}", {"email": f"{text}@example.org"}),
        ("PATCH", f"/admin/roles/{role['id']}", {"description": text}),
        ("PATCH", f"/admin/roles/{role['id']}", {"name": text}),
        ("POST", "/keys", {"name": text}),
        ("POST", "/agents", {"name": text, "model": "demo"}),
        ("POST", "/agents", {"name": "fine", "model": text}),
    ]:
        assert (await admin.ask(method, path, body)).status_code == 422, (method, path)
    device = text.encode("latin-1", "ignore").replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    await admin.login("bob@example.org", headers={"user-agent": device, "x-request-id": device})
    sessions = (await admin.ask("GET", f"/admin/users/{user['id']}/sessions")).json()["items"]
    assert all(session["device"].isprintable() for session in sessions)
    for entry in (await admin.ask("GET", "/admin/audit?limit=100")).json()["items"]:
        told = [entry["actor"], entry["action"], entry["object_id"], entry["request_id"], str(entry["details"])]
        assert all(word.isprintable() for word in told), entry
