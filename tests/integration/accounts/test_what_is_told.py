"""Every error under `/api/v1` has one shape and is one sentence that says what to do."""

from typing import Any

import pytest

from backend.core.config import Settings
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side, open_side

USER = {"email": "bob@example.org", "password": PASSWORD}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/admin/users", USER | {"password": "short"}, 422, "a password has 12 to 128 characters"),
        ("POST", "/admin/users", USER | {"trigramme": "b1b"}, 422, "a trigramme is three letters a to z"),
        ("POST", "/admin/users", USER | {"options": 1}, 422, "there is no field 'options' here"),
        ("POST", "/admin/roles", {"name": "Les Avocats", "permissions": []}, 422, "a role's name has "),
        ("POST", "/keys", {"name": "x", "networks": ["192.168.1.7/24"]}, 422, "did you mean 192.168.1.0/24?"),
        ("POST", "/keys", {"name": "x", "permissions": ["all"]}, 422, "'permissions[0]' must be one of 'models:use'"),
        ("POST", "/agents", {"name": "mdu/legal", "model": "x"}, 422, "leave the trigramme out"),
        ("POST", "/agents", {"name": "Été", "model": "x"}, 422, "letters a to z, digits"),
        ("POST", "/keys", None, 422, "send a body that is a JSON object"),
        ("GET", "/agents/legal", None, 422, "'legal' is not an id"),
        ("GET", "/keys?limit=1000", None, 422, "'limit' must be 100 or less"),
        ("GET", "/admin/audit?actions=user.create", None, 422, "there is no parameter 'actions' here"),
        ("GET", "/nothing", None, 404, "there is nothing at this address"),
        ("PATCH", "/keys", {}, 405, "this address takes GET and POST, not PATCH"),
        ("GET", "/keys/", None, 301, "a slash too many"),
    ],
)
async def test_an_error_is_one_sentence(
    admin: Side, method: str, path: str, body: dict[str, Any] | None, status: int, told: str
) -> None:
    more = {} if body is None else {"json": body}
    reply = await admin.client.request(method, f"/api/v1{path}", headers=admin.headers, **more)
    assert reply.status_code == status, reply.text
    shown = reply.json()
    assert told in shown["detail"]
    assert shown.keys() == ({"detail", "errors"} if status == 422 else {"detail"})
    if status == 422:
        assert shown["errors"][0]["message"] == shown["detail"]
        assert shown["errors"][0].keys() == {"field", "message"}
    if status == 405:
        assert reply.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
async def test_a_body_that_does_not_say_it_is_json_is_told_how(admin: Side, kind: str | None) -> None:
    headers = {**admin.headers, **({} if kind is None else {"content-type": kind})}
    reply = await admin.client.post("/api/v1/keys", content=b'{"name": "laptop"}', headers=headers)
    assert reply.status_code == 422, reply.text
    assert reply.json()["detail"] == "send the body as JSON: add -H 'content-type: application/json'"


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"name": "x",}', 422, "the body is not JSON: "),
        (b"\xff", 400, "the body is not JSON"),
        (b'"x"', 422, "send a body that is a JSON object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_told(admin: Side, body: bytes, status: int, told: str) -> None:
    reply = await admin.client.post(
        "/api/v1/keys", content=body, headers={**admin.headers, "content-type": "application/json"}
    )
    assert (reply.status_code, told in reply.json()["detail"]) == (status, True), reply.text


async def test_the_audit_log_tells_emails_and_finds_by_them(admin: Side) -> None:
    await admin.make_user("bob@example.org")
    found = (await admin.ask("GET", "/admin/audit?actor=ADA@example.org&action=user.create")).json()
    assert [entry["actor_email"] for entry in found["items"]] == [ADMIN_EMAIL]
    assert (await admin.ask("GET", "/admin/audit?actor=nobody@example.org")).json()["total"] == 0


@pytest.mark.parametrize("email", ["bob@example.org", "secret words"])
async def test_logins_held_back_are_told_when_to_come_again_and_written_down_once(admin: Side, email: str) -> None:
    bob = await admin.make_user("bob@example.org")
    replies = [await admin.ask("POST", "/auth/login", {"email": email, "password": "wrong"}) for _ in range(8)]
    assert [reply.status_code for reply in replies] == [401] * 5 + [429] * 3
    seconds = replies[-1].json()["detail"].removeprefix("too many attempts; try again in ").removesuffix(" s")
    assert seconds == replies[-1].headers["retry-after"]
    (entry,) = (await admin.ask("GET", "/admin/audit?action=login.limit")).json()["items"]
    known = email == bob["email"]
    assert (entry["object_type"], entry["owner_id"]) == (("user", bob["id"]) if known else ("address", None))
    assert "secret" not in str(entry)


@pytest.mark.parametrize("path", ["/auth/me", "/admin/users"])
@pytest.mark.parametrize("auth", ["keys", "open"])
async def test_a_token_that_is_over_is_told_so(settings: Settings, auth: str, path: str) -> None:
    changed = {"auth": auth} | ({"api_keys": ()} if auth == "open" else {})
    async with open_side(settings.model_copy(update=changed)) as side:
        reply = await side.ask("GET", path, headers={"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"})
        assert reply.status_code == 401
        assert "refresh it, or log in again" in reply.json()["detail"]


async def test_a_key_is_renewed_without_a_body_and_made_for_good_with_no_days(admin: Side) -> None:
    made = (await admin.ask("POST", "/keys", {"name": "x", "expires_in_days": 0})).json()
    assert made["expires_at"] is None
    renewed = await admin.client.post(f"/api/v1/keys/{made['id']}/rotate", headers=admin.headers)
    assert renewed.status_code == 200, renewed.text
    assert renewed.json()["key"] not in {made["key"], ""}
    assert renewed.json()["previous_until"] is None
    bound = await admin.ask("PATCH", f"/keys/{made['id']}", {"expires_in_days": 3})
    assert bound.json()["expires_at"] is not None
    free = await admin.ask("PATCH", f"/keys/{made['id']}", {"expires_in_days": 0})
    assert free.json()["expires_at"] is None
