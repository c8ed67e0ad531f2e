"""The agents in memory are those in the store, for everybody alike."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.database import Database
from backend.core.db.pages import PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import StoreUnavailable
from backend.features.accounts.models import Role, User
from backend.features.agents.index import READ_SECONDS, AgentIndex, full_name
from backend.features.agents.models import Agent, AgentShare
from backend.features.agents.repository import AgentRepository, listed_for
from tests.fakes import team
from tests.fakes.clock import ManualClock
from tests.fakes.team import ADA, ANA, BOB, CALLERS, EVE, LAWYERS, WRITERS

AGENTS = AgentRepository()


def agent(name: str, owner: Any = ANA, *roles: uuid.UUID, **fields: Any) -> Agent:
    shares = [AgentShare(role_id=role) for role in roles]
    return Agent(name=name, owner_id=owner.user_id, model="base", shares=shares, **fields)


@pytest.fixture
async def filled(database: Database) -> Database:
    await team.fill(database)
    async with database.transaction() as session:
        session.add_all(
            [
                agent("private"),
                agent("public", is_public=True),
                agent("for-lawyers", EVE, LAWYERS),
                agent("for-all-roles", BOB, LAWYERS, WRITERS),
                agent("both", EVE, WRITERS, is_public=True),
                agent("of-the-suspended", team.MAY, is_public=True),
            ]
        )
        await session.execute(update(User).where(User.trigramme == "may").values(is_active=False))
    return database


@pytest.fixture
async def index(filled: Database) -> AgentIndex:
    made = AgentIndex(filled)
    await made.refresh()
    return made


EXPECTED = {
    "ana": {"private", "public", "for-lawyers", "for-all-roles", "both"},
    "bob": {"public", "for-lawyers", "for-all-roles", "both"},
    "eve": {"public", "for-lawyers", "for-all-roles", "both"},
    "ada": {"private", "public", "for-lawyers", "for-all-roles", "both"},
    "key": {"public", "both"},
}


@pytest.mark.parametrize("caller", EXPECTED)
async def test_memory_and_store_agree_on_who_may_use_what(index: AgentIndex, filled: Database, caller: str) -> None:
    principal = CALLERS[caller]
    seen = {preset.name.model for preset in index.all(principal)}
    assert seen == EXPECTED[caller]
    async with filled.reading() as session:
        page = await AGENTS.page(session, listed_for(principal, own=False), PageQuery())
    managed = {"of-the-suspended"} if principal is ADA else set()
    assert {found.name for found in page.items} == seen | managed


async def test_a_preset_is_found_by_name_and_shows_its_prompt_to_its_owner(index: AgentIndex) -> None:
    name = full_name("eve", "both")
    shown = {who: preset.shows_prompt for who in EXPECTED if (preset := index.find(name, CALLERS[who])) is not None}
    assert shown == {"ana": False, "bob": False, "eve": True, "ada": True, "key": False}
    assert index.takes(full_name("ana", "private"))
    assert index.find(full_name("ana", "private"), BOB) is None
    assert index.find(full_name("ana", "nobody"), ANA) is None


Change = Callable[[AsyncSession], Any]
CHANGES: dict[str, Change] = {
    "made": lambda session: session.add(agent("new", is_public=True)),
    "changed": lambda session: session.execute(
        update(Agent).where(Agent.name == "public").values(is_public=False, updated_at=utc_now())
    ),
    "removed": lambda session: _remove(session, Agent, Agent.name == "public"),
    "role removed": lambda session: _remove(session, AgentShare, AgentShare.role_id == LAWYERS),
    "owner suspended": lambda session: session.execute(
        update(User).where(User.trigramme == "ana").values(is_active=False)
    ),
    "owner renamed": lambda session: session.execute(
        update(User).where(User.trigramme == "ana").values(trigramme="zoe")
    ),
}


async def _remove(session: AsyncSession, table: Any, which: Any) -> None:
    from sqlalchemy import delete  # noqa: PLC0415 (one use)

    await session.execute(delete(table).where(which))


@pytest.mark.parametrize("what", CHANGES)
async def test_what_another_process_changes_is_noticed(index: AgentIndex, filled: Database, what: str) -> None:
    before = {preset.name.short for preset in index.all(BOB)}
    async with filled.transaction() as session:
        done = CHANGES[what](session)
        if done is not None:
            await done
    await index.refresh(only_if_changed=True)
    assert {preset.name.short for preset in index.all(BOB)} != before


async def test_without_a_change_nothing_is_read_until_a_minute_is_over(filled: Database) -> None:
    clock = ManualClock()
    index = AgentIndex(filled, clock)
    await index.refresh()
    [first, *_] = index.all(ADA)
    await index.refresh(only_if_changed=True)
    assert index.all(ADA)[0] is first
    clock.advance(READ_SECONDS + 1)
    await index.refresh(only_if_changed=True)
    assert index.all(ADA)[0] is not first


async def test_while_the_store_is_away_the_last_snapshot_stands(index: AgentIndex, monkeypatch: Any) -> None:
    def fail(*_given: Any) -> Any:
        raise StoreUnavailable("away")

    before = index.all(ANA)
    monkeypatch.setattr(Database, "reading", fail)
    await index.changed()
    assert index.all(ANA) == before
    with pytest.raises(StoreUnavailable):
        await index.refresh()


async def test_a_row_that_makes_no_sense_hides_nobody_elses_agent(filled: Database) -> None:
    async with filled.transaction() as session:
        session.add(agent("broken", is_public=True, parameters={"temperature": "hot"}))
        session.add(agent("shapeless", is_public=True, messages=[{"text": "x"}]))
        session.add(Role(name="other"))
    index = AgentIndex(filled)
    await index.refresh()
    assert {preset.name.model for preset in index.all(ANA)} == EXPECTED["ana"]
