"""Who may see, search, read and change whose collections and documents; to others they are not there."""

import uuid
from typing import Any

import pytest

from backend.features.auth.principal import Permission
from tests.integration.accounts.conftest import Side
from tests.integration.knowledge.conftest import (
    asked_by,
    make_collection,
    make_role,
    member,
    send,
    send_version,
    settled,
    upload,
)

SHARES: dict[str, dict[str, Any]] = {"private": {}, "public": {"is_public": True}, "shared": {}}
READERS = {"private": {"eve", "admin"}, "public": {"eve", "admin", "bob", "kim"}, "shared": {"eve", "admin", "kim"}}
WRITERS = {"eve", "admin"}
"""Eve owns everything here; Kim is in the role it is shared with."""


@pytest.mark.parametrize("kind", SHARES)
async def test_the_same_verdict_everywhere(working: Side, kind: str) -> None:
    role = await make_role(working, "writers")
    team = {
        "admin": working,
        "eve": await member(working, "eve", "writers"),
        "bob": await member(working, "bob"),
        "kim": await member(working, "kim", "writers"),
    }
    shares = {"role_ids": [role]} if kind == "shared" else SHARES[kind]
    place = await make_collection(team["eve"], **shares)
    document = await upload(team["eve"], place, b"some words of eve")
    await settled(team["eve"], document)
    reading = [
        f"/collections/{place}",
        f"/documents?entity_type=collection&entity_id={place}",
        *(f"/documents/{document}{what}" for what in ("", "/versions", "/chunks", "/content", "/events")),
    ]
    for name, side in team.items():
        for path in reading:
            reply = await side.ask("GET", path)
            assert reply.status_code == (200 if name in READERS[kind] else 404), (name, path, reply.text)
        listed = (await side.ask("GET", "/collections")).json()
        assert (place in [item["id"] for item in listed["items"]]) == (name in READERS[kind])
        if name in WRITERS:
            continue
        refused = 403 if name in READERS[kind] else 404
        body = {"name": "mine now"}
        replies = [
            await side.ask("PUT", f"/collections/{place}", body),
            await side.ask("DELETE", f"/collections/{place}"),
            await send(side, place, b"words of a stranger"),
            await send_version(side, document, b"words of a stranger"),
            await side.ask("DELETE", f"/documents/{document}"),
        ]
        assert [reply.status_code for reply in replies] == [refused] * 5, name
        for path in ("/admin/documents", "/admin/collections"):
            assert (await side.ask("GET", path)).status_code == 403
    for name in ("eve", "admin"):
        added = await upload(team[name], place, f"words of {name}".encode())
        assert (await team["eve"].ask("GET", f"/documents/{added}")).json()["is_writable"] is True


async def test_what_is_not_there_and_what_is_not_yours_are_told_alike(working: Side) -> None:
    eve, bob = await member(working, "eve"), await member(working, "bob")
    place = await make_collection(eve)
    document = await upload(eve, place, b"some words")
    for path, foreign in (("/collections/{}", place), ("/documents/{}", document), ("/documents/{}/content", document)):
        theirs = await bob.ask("GET", path.format(foreign))
        nobodys = await bob.ask("GET", path.format(uuid.uuid4()))
        assert (theirs.status_code, theirs.json()) == (nobodys.status_code, nobodys.json())
    assert (await send(bob, str(uuid.uuid4()), b"words", kind="chat")).status_code == 404
    assert (await send(bob, str(uuid.uuid4()), b"words", kind="agent")).status_code == 404
    assert (await send(bob, "no id", b"words")).status_code == 422


async def test_nobody_shares_with_a_role_that_is_not_theirs(working: Side) -> None:
    eve, role = await member(working, "eve"), await make_role(working, "others")
    for wanted in (role, str(uuid.uuid4())):
        body = {"name": "x", "role_ids": [wanted]}
        assert (await eve.ask("POST", "/collections", body)).status_code == 422
    assert (await working.ask("POST", "/collections", {"name": "x", "role_ids": [role]})).status_code == 201


async def test_a_key_needs_the_permission_to_write(working: Side) -> None:
    eve = await member(working, "eve")
    place = await make_collection(eve)
    weak, strong = [
        asked_by(
            eve,
            {
                "authorization": "Bearer "
                + (await eve.ask("POST", "/keys", {"name": "k", "permissions": permissions})).json()["key"]
            },
        )
        for permissions in ([Permission.USE_MODELS], [Permission.USE_MODELS, Permission.KNOWLEDGE])
    ]
    assert (await send(weak, place, b"some words")).status_code == 403
    assert (await weak.ask("POST", "/collections", {"name": "y"})).status_code == 403
    assert (await send(strong, place, b"some words")).status_code == 202


async def test_a_collection_is_not_searched_any_more_once_it_is_unshared(working: Side) -> None:
    eve, bob = await member(working, "eve"), await member(working, "bob")
    place = await make_collection(eve, is_public=True)
    document = await upload(eve, place, b"some words")
    assert (await bob.ask("GET", f"/documents/{document}")).status_code == 200
    assert (await eve.ask("PUT", f"/collections/{place}", {"name": "handbook"})).status_code == 200
    assert (await bob.ask("GET", f"/documents/{document}")).status_code == 404


async def test_names_of_collections_are_their_owners(working: Side) -> None:
    eve, bob = await member(working, "eve"), await member(working, "bob")
    await make_collection(eve)
    await make_collection(bob)
    assert (await eve.ask("POST", "/collections", {"name": "handbook"})).status_code == 409
    other = await make_collection(eve, "other")
    assert (await eve.ask("PUT", f"/collections/{other}", {"name": "handbook"})).status_code == 409
    assert [c["name"] for c in (await eve.ask("GET", "/collections/my")).json()["items"]] == ["handbook", "other"]
