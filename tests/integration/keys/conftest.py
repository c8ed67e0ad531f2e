"""Keys on both databases."""

from dataclasses import replace
from typing import Any

import pytest

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

EVE_EMAIL, BOB_EMAIL = "eve@example.org", "bob@example.org"


async def make_key(side: Side, **fields: Any) -> dict[str, Any]:
    """Return a new key of whoever asks."""
    reply = await side.ask("POST", "/keys", {"name": "test", **fields})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


def with_key(side: Side, key: str) -> Side:
    """Return the side API asked with a key."""
    return replace(side, headers={"authorization": f"Bearer {key}"})


async def status(side: Side, key: str) -> int:
    """Return how a request that needs nothing but a known caller is answered."""
    return (await with_key(side, key).ask("GET", "/auth/me")).status_code


@pytest.fixture
async def eve(admin: Side) -> Side:
    """An ordinary user, logged in."""
    await admin.make_user(EVE_EMAIL)
    return await admin.as_user(EVE_EMAIL)


@pytest.fixture
async def bob(admin: Side) -> Side:
    """Another one."""
    await admin.make_user(BOB_EMAIL)
    return await admin.as_user(BOB_EMAIL)
