"""Every error under `/api/v1` has one shape and is one sentence that says what to do."""

from typing import Any

import pytest

from tests.integration.accounts.conftest import PASSWORD, Side

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
async def test_a_body_is_json_whatever_its_content_type_says(admin: Side, kind: str | None) -> None:
    headers = {**admin.headers, **({} if kind is None else {"content-type": kind})}
    reply = await admin.client.post("/api/v1/keys", content=b'{"name": "laptop"}', headers=headers)
    assert reply.status_code == 201, reply.text


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"name": "x",}', 422, "the body is not JSON: "),
        (b"\xff", 400, "the body is not JSON"),
        (b'"x"', 422, "send a body that is a JSON object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_told(admin: Side, body: bytes, status: int, told: str) -> None:
    reply = await admin.client.post("/api/v1/keys", content=body, headers=admin.headers)
    assert (reply.status_code, told in reply.json()["detail"]) == (status, True), reply.text
