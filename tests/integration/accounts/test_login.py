"""Logging in and out, tokens, one's own account."""

import asyncio
import time
import uuid
from typing import Any

import jwt
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import text

from backend.core.errors import NotAuthenticated, RateLimited
from backend.features.accounts import sessions as sessions_module
from backend.features.accounts.attempts import TooManyAttempts
from backend.features.accounts.service import Stranger
from tests.integration.accounts.conftest import ADMIN_EMAIL, KEY, PASSWORD, SIGNING, Side

WRONG = "the email or the password is wrong"


async def test_a_login_is_a_session_whose_token_opens_every_surface(admin: Side) -> None:
    me = (await admin.ask("GET", "/auth/me")).json()
    assert (me["email"], me["trigramme"], me["role"]["name"]) == (ADMIN_EMAIL, "ada", "admin")
    assert "users:manage" in me["permissions"]
    assert not {"password", "password_hash", "token_version"} & me.keys()
    tags = await admin.client.get("/api/tags", headers=admin.headers)
    assert tags.status_code == 200
    listed = (await admin.ask("GET", "/sessions")).json()
    assert listed["total"] == 1
    assert listed["items"][0]["is_current"]
    assert "python-httpx" in listed["items"][0]["device"]


async def test_unknown_users_wrong_passwords_and_suspended_users_look_the_same(admin: Side, monkeypatch: Any) -> None:
    user = await admin.make_user("bob@example.org")
    verified: list[str | None] = []
    service = admin.container.accounts.own._passwords
    verify = service._verify
    monkeypatch.setattr(service, "_verify", lambda given, kept: verified.append(kept) or verify(given, kept))
    await admin.ask("PATCH", f"/admin/users/{user['id']}", {"is_active": False})
    replies = [
        await admin.ask("POST", "/auth/login", {"email": email, "password": password}, headers={"authorization": ""})
        for email, password in [
            ("nobody@example.org", PASSWORD),
            (ADMIN_EMAIL, "another long phrase"),
            ("bob@example.org", PASSWORD),
            ("not an address", "x"),
        ]
    ]
    assert {(reply.status_code, reply.text) for reply in replies} == {(401, f'{{"detail":"{WRONG}"}}')}
    assert len(verified) == len(replies), "every login costs one hash"


async def test_wrong_passwords_are_limited_per_account_and_a_header_names_no_address(admin: Side) -> None:
    statuses = []
    for number in range(8):
        reply = await admin.ask(
            "POST",
            "/auth/login",
            {"email": "bob@example.org", "password": "wrong"},
            headers={"x-forwarded-for": f"10.0.0.{number}", "forwarded": f"for=10.0.0.{number}"},
        )
        statuses.append(reply.status_code)
    assert statuses == [401] * 5 + [429] * 3
    assert int(reply.headers["retry-after"]) >= 1
    assert (await admin.ask("POST", "/auth/login", {"email": ADMIN_EMAIL, "password": PASSWORD})).status_code == 200


async def test_a_stranger_locks_nobody_out_who_comes_from_elsewhere(admin: Side) -> None:
    own = admin.container.accounts.own
    stranger, owner = Stranger("198.51.100.1", ""), Stranger("192.0.2.1", "")
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            await own.login(stranger, ADMIN_EMAIL, "wrong")
    for _ in range(30):
        with pytest.raises(RateLimited):
            await own.login(stranger, ADMIN_EMAIL, PASSWORD)
    await own.login(owner, ADMIN_EMAIL, PASSWORD)


async def test_guesses_from_many_addresses_are_limited_per_account(admin: Side) -> None:
    own = admin.container.accounts.own

    async def guess(number: int) -> type[Exception]:
        with pytest.raises((NotAuthenticated, RateLimited)) as caught:
            await own.login(Stranger(f"192.0.2.{number}", ""), "bob@example.org", "wrong")
        return caught.type

    refused = [await guess(number) for number in range(40)]
    assert refused == [NotAuthenticated] * 30 + [TooManyAttempts] * 10


async def test_passwords_sprayed_over_many_accounts_are_limited_per_address(admin: Side) -> None:
    async def guess(number: int) -> int:
        body = {"email": f"user{number}@example.org", "password": "wrong"}
        return (await admin.ask("POST", "/auth/login", body)).status_code

    statuses = await asyncio.gather(*[guess(number) for number in range(30)])
    assert statuses.count(401) == 19, "one login was the administrator's own"
    assert statuses.count(429) == 11


async def test_a_right_password_forgives_the_wrong_ones_before_it(admin: Side) -> None:
    for _ in range(3):
        for _ in range(3):
            wrong = await admin.ask("POST", "/auth/login", {"email": ADMIN_EMAIL, "password": "wrong"})
            assert wrong.status_code == 401
        await admin.login()


async def test_a_hash_with_old_parameters_is_renewed_at_login(admin: Side) -> None:
    own = admin.container.accounts.own
    old = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=16, parallelism=1),)).hash(PASSWORD)
    me = uuid.UUID((await admin.ask("GET", "/auth/me")).json()["id"])
    async with admin.container.database.transaction() as transaction:
        user = await own._users.get(transaction, me)
        assert user is not None
        user.password_hash = old
    await admin.login()
    renewed = (await own.get(me)).password_hash
    assert renewed is not None
    assert "t=1" in renewed
    await admin.login()
    assert (await own.get(me)).password_hash == renewed


async def test_logging_out_ends_the_session_at_once(admin: Side) -> None:
    tokens = await admin.login()
    mine = Side(admin.client, admin.container, {"authorization": f"Bearer {tokens['access_token']}"})
    assert (await mine.ask("GET", "/auth/me")).status_code == 200
    assert (await mine.ask("POST", "/auth/logout")).status_code == 204
    assert (await mine.ask("GET", "/auth/me")).status_code == 401
    again = await mine.ask("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 401
    assert (await admin.ask("GET", "/auth/me")).status_code == 200, "other devices stay logged in"


async def test_a_settings_key_has_no_account_and_no_session(side: Side) -> None:
    with_key = Side(side.client, side.container, {"authorization": f"Bearer {KEY}"})
    for method, path in [("GET", "/auth/me"), ("POST", "/auth/logout"), ("GET", "/sessions")]:
        assert (await with_key.ask(method, path)).status_code == 401
    assert (await with_key.ask("GET", "/admin/users")).status_code == 403


async def test_one_ends_own_sessions_and_nobody_elses(admin: Side) -> None:
    await admin.make_user("bob@example.org")
    bob = await admin.as_user("bob@example.org")
    tokens = await admin.login("bob@example.org")
    foreign = (await admin.ask("GET", "/sessions")).json()["items"][0]["id"]
    assert (await bob.ask("DELETE", f"/sessions/{foreign}")).status_code == 404
    assert (await bob.ask("DELETE", f"/sessions/{uuid.uuid4()}")).status_code == 404
    assert (await bob.ask("DELETE", "/sessions/nonsense")).status_code == 422
    listed = (await bob.ask("GET", "/sessions")).json()["items"]
    other = next(item["id"] for item in listed if not item["is_current"])
    assert (await bob.ask("DELETE", f"/sessions/{other}")).status_code == 204
    refreshed = await bob.ask("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 401
    assert (await admin.ask("GET", "/auth/me")).status_code == 200


async def test_a_new_password_needs_the_old_one_and_ends_every_session(admin: Side) -> None:
    new = "quite another phrase"
    refused = await admin.ask("PATCH", "/auth/me", {"password": new})
    assert refused.status_code == 400
    refused = await admin.ask("PATCH", "/auth/me", {"password": new, "current_password": "wrong"})
    assert refused.status_code == 403
    tokens = await admin.login()
    changed = await admin.ask("PATCH", "/auth/me", {"password": new, "current_password": PASSWORD, "name": "Ada L."})
    assert changed.status_code == 200
    assert changed.json()["name"] == "Ada L."
    assert (await admin.ask("GET", "/auth/me")).status_code == 401
    refreshed = await admin.ask("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 401
    assert (await admin.ask("POST", "/auth/login", {"email": ADMIN_EMAIL, "password": PASSWORD})).status_code == 401
    await admin.login(password=new)


async def test_what_is_refused_is_not_repeated(side: Side) -> None:
    secret = "sesame-" + "x" * 200
    for path in ("/auth/login", "/auth/register", "/auth/refresh", "/auth/bootstrap"):
        body = {"email": 1, "password": secret, "refresh_token": secret, "is_admin": True}
        reply = await side.ask("POST", path, body)
        assert reply.status_code == 422
        assert "sesame" not in reply.text


async def test_cookies_are_not_looked_at(admin: Side) -> None:
    token = admin.headers["authorization"].removeprefix("Bearer ")
    reply = await Side(admin.client, admin.container).ask(
        "GET", "/auth/me", headers={"cookie": f"access_token={token}"}
    )
    assert reply.status_code == 401


async def test_a_body_that_a_form_could_send_is_not_json(side: Side) -> None:
    body = f'{{"email":"{ADMIN_EMAIL}","password":"{PASSWORD}"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        reply = await side.client.post("/api/v1/auth/login", content=body, headers={"content-type": kind})
        assert reply.status_code == 422


async def test_a_large_body_is_refused_in_the_routes_own_shape(side: Side) -> None:
    reply = await side.ask("POST", "/auth/login", {"email": "x" * 2**20, "password": "x"})
    assert reply.status_code == 413
    assert reply.json()["detail"]


async def test_the_hot_path_asks_the_store_once_a_minute(admin: Side) -> None:
    asked: list[object] = []
    known = admin.container.accounts.sessions.known
    load = known._load

    async def counted(session_id: uuid.UUID) -> Any:
        asked.append(session_id)
        return await load(session_id)

    known._load = counted
    for _ in range(5):
        assert (await admin.client.get("/api/tags", headers=admin.headers)).status_code == 200
    assert len(asked) == 1


# --- JWTs that are not ours, or not any more


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "iss": "passerelle", "aud": "passerelle", "sub": str(uuid.uuid4()), "iat": now, "nbf": now, "exp": now + 900,
        "jti": "1", "sid": str(uuid.uuid4()), "typ": "access", "ver": 0,
    }  # fmt: skip
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def forgeries() -> dict[str, dict[str, Any]]:
    """Return claims that must not be believed, of now: a session may run longer than a token lives."""
    now = int(time.time())
    return {
        "no expiry": claims(exp=None),
        "an infinite expiry": claims(exp=float("inf")),
        "ten years": claims(exp=now + 315_360_000),
        "expired": claims(iat=now - 2000, nbf=now - 2000, exp=now - 1100),
        "not yet valid": claims(iat=now + 600, nbf=now + 600, exp=now + 1500),
        "another audience": claims(aud="elsewhere"),
        "two audiences": claims(aud=["passerelle", "elsewhere"]),
        "another issuer": claims(iss="passerelle.evil"),
        "another type": claims(typ="refresh"),
        "no type": claims(typ=None),
        "no version": claims(ver=None),
        "no session": claims(sid=None),
        "a session that is none": claims(sid="../../etc/passwd"),
        "a number for a session": claims(sid=7),
        "a session nobody has": claims(),
    }


async def forged_is_refused(side: Side, token: str) -> None:
    reply = await side.ask("GET", "/auth/me", headers={"authorization": f"Bearer {token}"})
    assert reply.status_code == 401


async def test_claims_that_are_not_ours_are_refused_even_when_signed(admin: Side) -> None:
    live = jwt.decode(admin.headers["authorization"][7:], options={"verify_signature": False})
    mine = {"sub": live["sub"], "sid": live["sid"]}
    for what, forged in forgeries().items():
        made = forged if "session" in what else forged | mine
        await forged_is_refused(admin, jwt.encode(made, SIGNING.encode(), algorithm="HS256"))
    kept = jwt.encode(claims() | mine, SIGNING.encode(), algorithm="HS256")
    assert (await admin.ask("GET", "/auth/me", headers={"authorization": f"Bearer {kept}"})).status_code == 200


HEADERS: list[dict[str, Any]] = [
    {"kid": "../../dev/null"},
    {"kid": "' or 1=1 --"},
    {"jku": "https://evil.example/keys"},
    {"x5u": "https://evil.example/cert"},
    {"jwk": {"kty": "oct", "k": "QUFB"}},
    {"crit": ["exp"]},
    {"typ": "at+jwt"},
]


async def test_a_header_with_more_than_the_algorithm_is_refused(admin: Side) -> None:
    live = jwt.decode(admin.headers["authorization"][7:], options={"verify_signature": False})
    for headers in HEADERS:
        await forged_is_refused(admin, jwt.encode(live, SIGNING.encode(), algorithm="HS256", headers=headers))


async def test_other_algorithms_and_keys_are_refused(admin: Side) -> None:
    token = admin.headers["authorization"][7:]
    live = jwt.decode(token, options={"verify_signature": False})
    head, body, signature = token.split(".")
    none = jwt.encode(live, None, algorithm="none")
    for forged in (
        none,
        none.rstrip("."),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-2]}xx",
        jwt.encode(live, SIGNING.encode() * 2, algorithm="HS512"),
        jwt.encode(live, b"another key of thirty-two bytes!", algorithm="HS256"),
        f"{head}.{body}.{signature}" + "x" * 5_000_000,
        "eyJ.eyJ.eyJ",
        "eyJ" + "." * 100,
    ):
        await forged_is_refused(admin, forged)


# --- refresh tokens


async def refresh(side: Side, token: str, **more: Any) -> tuple[int, dict[str, Any]]:
    reply = await side.ask("POST", "/auth/refresh", {"refresh_token": token}, **more)
    return reply.status_code, reply.json()


async def test_a_used_refresh_token_ends_the_session_and_is_written_down(admin: Side, monkeypatch: Any) -> None:
    monkeypatch.setattr(sessions_module, "GRACE", sessions_module.timedelta(0))
    tokens = await admin.login()
    status, successor = await refresh(admin, tokens["refresh_token"])
    assert status == 200
    assert (await refresh(admin, tokens["refresh_token"]))[0] == 401
    assert (await refresh(admin, successor["refresh_token"]))[0] == 401, "the whole family is over"
    mine = {"authorization": f"Bearer {successor['access_token']}"}
    assert (await admin.ask("GET", "/auth/me", headers=mine)).status_code == 401
    assert (await admin.actions()).count("session.token_reused") == 1


async def test_a_lost_reply_is_given_once_more_to_the_same_device(admin: Side) -> None:
    tokens = await admin.login()
    _, first = await refresh(admin, tokens["refresh_token"])
    status, second = await refresh(admin, tokens["refresh_token"])
    assert status == 200
    assert second["refresh_token"] == first["refresh_token"]
    assert (await refresh(admin, tokens["refresh_token"]))[0] == 401
    assert (await refresh(admin, first["refresh_token"]))[0] == 401


async def test_another_device_gets_no_grace(admin: Side) -> None:
    tokens = await admin.login()
    await refresh(admin, tokens["refresh_token"])
    assert (await refresh(admin, tokens["refresh_token"], headers={"user-agent": "thief"}))[0] == 401


async def test_there_is_no_grace_once_the_successor_was_used(admin: Side) -> None:
    tokens = await admin.login()
    _, first = await refresh(admin, tokens["refresh_token"])
    assert (await refresh(admin, first["refresh_token"]))[0] == 200
    assert (await refresh(admin, tokens["refresh_token"]))[0] == 401


async def test_ten_refreshes_at_once_make_one_successor(admin: Side) -> None:
    tokens = await admin.login()
    results = await asyncio.gather(*[refresh(admin, tokens["refresh_token"]) for _ in range(10)])
    given = [body["refresh_token"] for status, body in results if status == 200]
    assert 1 <= len(given) <= 2
    assert len(set(given)) == 1
    assert {status for status, _ in results} == {200, 401}


async def test_a_refresh_token_nobody_was_given_is_refused(admin: Side) -> None:
    for token in ("", "gw-refresh-nonsense", "\u2028", "x" * 100):
        assert (await refresh(admin, token))[0] == 401


async def test_neither_the_store_nor_the_audit_log_holds_a_token_or_a_password(admin: Side) -> None:
    tokens = await admin.login()
    secrets = [PASSWORD, tokens["refresh_token"], tokens["access_token"], tokens["refresh_token"][11:]]
    kept = ""
    async with admin.container.database.reading() as reading:
        for table in ("users", "sessions", "refresh_tokens", "audit_entries"):
            kept += str((await reading.execute(text(f"select * from {table}"))).all())  # noqa: S608
    assert not [secret for secret in secrets if secret in kept]
