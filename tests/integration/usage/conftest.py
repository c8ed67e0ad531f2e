"""The ledger on both databases: as services, and behind a real server."""

from collections.abc import AsyncIterator

import pytest

from backend.core.config import Settings
from tests.clients.scripts import CHAT
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.counting import Counting, answer, open_counting
from tests.integration.keys.conftest import (
    _quick,
    admin,
    bob,
    database,
    eve,
    postgres,
    settings,
    side,
    store,
)

__all__ = ["_quick", "admin", "bob", "database", "eve", "postgres", "settings", "side", "store"]


@pytest.fixture
async def counting(settings: Settings) -> AsyncIterator[Counting]:
    """A gateway before an upstream that answers in three words and counts seven and three tokens."""
    with ScriptedUpstream() as upstream:
        upstream.script(CHAT, [answer()])
        async with open_counting(settings, upstream) as opened:
            yield opened
