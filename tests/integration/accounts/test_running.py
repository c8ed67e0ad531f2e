"""Which running answers the accounts in the store end, on both databases."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

import pytest

from backend.core.errors import GatewayError
from backend.features.auth.principal import Principal
from tests.fakes.cli_identity import CliIdentity
from tests.integration.accounts.conftest import PASSWORD, Side

BOB = "bob@example.org"
Do = Callable[[Side, Side, Mapping[str, str]], Awaitable[object]]
"""Something that the administrator, or Bob, does to Bob, whose account is given."""


async def _end_own(admin: Side, bob: Side, account: Mapping[str, str]) -> None:
    del admin, account
    assert (await bob.ask("POST", "/auth/logout")).status_code == 204


def _change(**fields: object) -> Do:
    async def do(admin: Side, bob: Side, account: Mapping[str, str]) -> None:
        del bob
        assert (await admin.ask("PATCH", f"/admin/users/{account['id']}", fields)).status_code == 200

    return do


async def _remove(admin: Side, bob: Side, account: Mapping[str, str]) -> None:
    del bob
    assert (await admin.ask("DELETE", f"/admin/users/{account['id']}")).status_code == 204


async def _reset(admin: Side, bob: Side, account: Mapping[str, str]) -> None:
    del bob
    body = {"password": PASSWORD + " anew"}
    assert (await admin.ask("POST", f"/admin/users/{account['id']}/password", body)).status_code == 204


def _remove_own(kind: str) -> Do:
    async def do(admin: Side, bob: Side, account: Mapping[str, str]) -> None:
        del admin, account
        [item] = (await bob.ask("GET", f"/{kind}")).json()["items"]
        assert (await bob.ask("DELETE", f"/{kind}/{item['id']}")).status_code == 204

    return do


ENDING: dict[str, tuple[Do, set[str]]] = {
    "logged out": (_end_own, {"session"}),
    "new password": (_reset, {"session"}),
    "suspended": (_change(is_active=False), {"session", "key", "public key"}),
    "removed": (_remove, {"session", "key", "public key"}),
    "key revoked": (_remove_own("keys"), {"key"}),
    "public key removed": (_remove_own("public-keys"), {"public key"}),
    "renamed": (_change(name="Robert"), set()),
    "another role": (_change(role="admin"), set()),
}


async def principal_of(side: Side) -> Principal:
    headers = [(name.encode(), value.encode()) for name, value in side.headers.items()]
    return await side.container.authenticator.authenticate({"headers": headers, "query_string": b""})


@pytest.mark.parametrize("what", ENDING)
async def test_what_ends_access_ends_what_runs_and_nothing_else(admin: Side, what: str) -> None:
    do, expected = ENDING[what]
    account = await admin.make_user(BOB)
    bob = await admin.as_user(BOB)
    session = await principal_of(bob)
    key = (await bob.ask("POST", "/keys", {"name": "one"})).json()
    public = (await bob.ask("POST", "/public-keys", {"name": "laptop", "public_key": CliIdentity().line})).json()
    as_key = Side(bob.client, bob.container, {"authorization": f"Bearer {key['key']}"})
    callers = {
        "session": session,
        "key": await principal_of(as_key),
        "public key": replace(session, key_id=f"public-key-{public['id']}"),
        "administrator": await principal_of(admin),
    }
    running, cut, looked = admin.container.running, dict[str, GatewayError](), asyncio.Event()
    for name, principal in callers.items():
        running.track(principal, partial(cut.__setitem__, name))
    running.track(Principal("nobody", user_id=uuid.uuid4()), lambda _error: looked.set())
    await do(admin, bob, account)
    await asyncio.wait_for(looked.wait(), 5)
    assert cut.keys() == expected
    assert all(error.status == 401 for error in cut.values())
