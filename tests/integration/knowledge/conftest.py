"""Knowledge on both databases, asked by a team over the side API."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from backend.features.accounts.models import Role
from backend.features.auth.principal import USER_PERMISSIONS
from tests.integration.accounts.conftest import (
    Side,
    _quick,
    admin,
    database,
    postgres,
    settings,
    side,
    store,
)

__all__ = ["_quick", "admin", "database", "postgres", "settings", "side", "store"]

_SECONDS = 50.0
SETTLED = {"ready", "failed", "cancelled"}


@pytest.fixture
def working(admin: Side) -> Side:
    """A gateway that works on documents, asked by its administrator."""
    return admin


@pytest.fixture
async def idle(admin: Side) -> Side:
    """A gateway that does not."""
    await admin.container.knowledge.dispatcher.aclose()
    return admin


async def member(admin: Side, name: str, role: str = "user") -> Side:
    """Return the side API asked by a new member of the team."""
    await admin.make_user(f"{name}@example.org", role)
    return await admin.as_user(f"{name}@example.org")


async def make_role(admin: Side, name: str) -> str:
    """Return the id of a new role that may do what users may."""
    role = Role(id=uuid.uuid4(), name=name, permissions=sorted(USER_PERMISSIONS))
    async with admin.container.database.transaction() as session:
        session.add(role)
    return str(role.id)


async def make_collection(side: Side, name: str = "handbook", **fields: Any) -> str:
    """Return the id of a new collection."""
    reply = await side.ask("POST", "/collections", {"name": name, **fields})
    assert reply.status_code == 201, reply.text
    made: str = reply.json()["id"]
    return made


async def send(side: Side, place: str, data: bytes, name: str = "note.txt", kind: str = "collection") -> httpx.Response:
    """Upload a document."""
    fields = {"entity_type": kind, "entity_id": place}
    return await side.client.post(
        "/api/v1/documents/upload", data=fields, files={"file": (name, data)}, headers=side.headers
    )


async def send_version(side: Side, document: str, data: bytes, name: str = "note.txt") -> httpx.Response:
    """Upload a new file of a document."""
    path = f"/api/v1/documents/{document}/versions"
    return await side.client.post(path, files={"file": (name, data)}, headers=side.headers)


async def upload(side: Side, place: str, data: bytes, name: str = "note.txt", kind: str = "collection") -> str:
    """Return the id of a document that was taken."""
    reply = await send(side, place, data, name, kind)
    assert reply.status_code == 202, reply.text
    made: str = reply.json()["id"]
    return made


async def settled(side: Side, document: str) -> dict[str, Any]:
    """Return a document once nothing more happens to it."""
    async with asyncio.timeout(_SECONDS):
        while True:
            reply = await side.ask("GET", f"/documents/{document}")
            assert reply.status_code == 200, reply.text
            found: dict[str, Any] = reply.json()
            if found["status"] in SETTLED:
                return found
            await asyncio.sleep(0.05)


async def gone(side: Side, document: str) -> None:
    """Wait until a document is not there any more."""

    async def is_gone() -> bool:
        return (await side.ask("GET", f"/documents/{document}")).status_code == 404

    await until(is_gone)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(_SECONDS):
        while not await is_so():  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.05)


async def passages(side: Side, document: str) -> list[str]:
    """Return the texts that are searched of a document."""
    reply = await side.ask("GET", f"/documents/{document}/chunks?limit=100")
    assert reply.status_code == 200, reply.text
    return [chunk["text"] for chunk in reply.json()["items"]]


def asked_by(side: Side, headers: dict[str, str]) -> Side:
    """Return the side API with other headers."""
    return replace(side, headers=headers)
