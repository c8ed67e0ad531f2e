"""SEC-05: two people, each with documents of their own that hold a unique word; neither ever gets the other's."""

import secrets
import uuid
from dataclasses import dataclass
from random import Random

import pytest
from sqlalchemy import delete, select, update

from backend.core.db.database import Database
from backend.core.errors import InvalidRequest
from backend.core.metrics import FOREIGN_PASSAGES
from backend.features.accounts.models import User
from backend.features.agents.models import Agent, AgentShare
from backend.features.auth.principal import Principal
from backend.features.knowledge.dense import DenseSearch
from backend.features.knowledge.models import AgentCollection, Chunk, Collection, CollectionShare
from backend.features.knowledge.questions import Question
from backend.features.knowledge.retrieval import Retrieval
from backend.features.knowledge.scopes import Scope, resolve
from tests.fakes.library import FakeEmbedder, FakeIndex, add_agent, add_collection, add_document
from tests.fakes.team import ADA, ANA, BOB, EVE, KEY, LAWYERS, MAY, WRITERS

QUERIES = {"sqlite": 500, "postgresql": 60}
"""Each in two scopes."""
WORDS = [
    "contrat",
    "salaire",
    "secret",
    "canary",
    "clause",
    "montant",
    "dossier",
    "client",
    "paiement",
    "the",
    "of",
    "le",
    "la",
]


@dataclass(frozen=True)
class Tenant:
    who: Principal
    canary: str
    collection: uuid.UUID
    agent: uuid.UUID
    chat: uuid.UUID


async def settle_in(database: Database, who: Principal) -> Tenant:
    canary = f"canary{secrets.token_hex(16)}"
    agent, chat = await add_agent(database, who.user_id), uuid.uuid4()
    collection = await add_collection(database, who.user_id, f"of {who.trigramme}", agents=[agent])
    text = f"Contrat secret du client : le montant du paiement est {canary}, clause du dossier."
    for place in ({"collection_id": collection}, {"agent_id": agent}, {"chat_id": chat}):
        await add_document(database, who.user_id, text, filename=f"{canary}.pdf", **place)
    return Tenant(who, canary, collection, agent, chat)


@pytest.fixture
async def tenants(database: Database) -> tuple[Tenant, Tenant]:
    return await settle_in(database, ANA), await settle_in(database, EVE)


async def treacherous(database: Database) -> Retrieval:
    """Return a retrieval whose vector index finds everybody's passages, all of them a perfect match."""
    async with database.reading() as session:
        numbers = list(await session.scalars(select(Chunk.number)))
    return Retrieval(database, DenseSearch(lambda: FakeEmbedder({}), FakeIndex(*((n, 1.0) for n in numbers))))


async def scope_of(database: Database, who: Principal, **wanted: object) -> Scope:
    async with database.reading() as session:
        return await resolve(session, who, **wanted)  # type: ignore[arg-type]


async def told(retrieval: Retrieval, who: Principal, scope: Scope, asked: str) -> str:
    return repr(await retrieval.search(who, scope, Question(asked), 10, is_gated=False))


async def test_queries_of_one_never_find_what_is_the_others(database: Database, tenants: tuple[Tenant, Tenant]) -> None:
    retrieval, chance = await treacherous(database), Random(5)  # noqa: S311 (a sample, no secret)
    before = FOREIGN_PASSAGES._value.get()
    seen, queries = 0, QUERIES[database.url.get_backend_name()]
    for number in range(queries):
        mine, other = tenants if number % 2 else tenants[::-1]
        own = await scope_of(database, mine.who, agent_id=mine.agent, chat_id=mine.chat, wanted=[str(mine.collection)])
        foreign = Scope(
            frozenset({mine.collection, other.collection}),
            own.through_agent | {other.collection},
            other.agent,
            other.chat,
        )
        asked = " ".join([*chance.sample(WORDS, 3), other.canary][: chance.randint(1, 4)])
        for scope in (own, foreign):
            text = await told(retrieval, mine.who, scope, asked)
            assert other.canary not in text
            seen += mine.canary in text
    assert seen >= queries
    assert FOREIGN_PASSAGES._value.get() > before


@pytest.mark.parametrize("who", [BOB, EVE, MAY, KEY], ids=lambda who: who.key_id)
async def test_no_name_in_the_header_reaches_a_strangers_collection(
    database: Database, tenants: tuple[Tenant, Tenant], who: Principal
) -> None:
    ana = tenants[0]
    names = [
        str(ana.collection), ana.collection.hex, "of ana", "' or 1=1 --", '{"$ne": null}', "*", "%", "of%",
        "kb_" + ana.collection.hex,
        f"of ana\0{ana.collection}", str(uuid.UUID(int=0)), "x" * 3_000,
    ]  # fmt: skip
    for name in names:
        with pytest.raises(InvalidRequest, match=r"not there for you|cannot be kept"):
            await scope_of(database, who, wanted=[name])


async def test_an_agents_users_search_its_collections_through_it_alone(
    database: Database, tenants: tuple[Tenant, Tenant]
) -> None:
    ana, retrieval = tenants[0], await treacherous(database)
    assert (await scope_of(database, BOB, agent_id=ana.agent)).is_empty
    async with database.transaction() as session:
        session.add(AgentShare(agent_id=ana.agent, role_id=LAWYERS))
    through = await scope_of(database, BOB, agent_id=ana.agent)
    assert through.collections == {ana.collection}
    assert ana.canary in await told(retrieval, BOB, through, "contrat secret")
    with pytest.raises(InvalidRequest):
        await scope_of(database, BOB, wanted=["of ana"])
    assert (await scope_of(database, EVE, agent_id=ana.agent)).is_empty

    async with database.transaction() as session:
        await session.execute(delete(AgentShare))
    for scope in (through, await scope_of(database, BOB, agent_id=ana.agent)):
        assert ana.canary not in await told(retrieval, BOB, scope, "contrat secret")


async def test_an_agent_loses_a_collection_with_its_owners_right_to_it(
    database: Database, tenants: tuple[Tenant, Tenant]
) -> None:
    eve, retrieval = tenants[1], await treacherous(database)
    agent = await add_agent(database, ANA.user_id, "press")
    async with database.transaction() as session:
        session.add(CollectionShare(collection_id=eve.collection, role_id=LAWYERS))
    async with database.transaction() as session:
        session.add(AgentCollection(agent_id=agent, collection_id=eve.collection))
    scope = await scope_of(database, ANA, agent_id=agent)
    assert eve.canary in await told(retrieval, ANA, scope, "contrat secret")
    async with database.transaction() as session:
        await session.execute(delete(CollectionShare))
    for now in (scope, await scope_of(database, ANA, agent_id=agent)):
        assert eve.canary not in await told(retrieval, ANA, now, "contrat secret")


async def test_shared_and_public_collections_are_read_until_they_are_not_or_their_owner_is_suspended(
    database: Database, tenants: tuple[Tenant, Tenant]
) -> None:
    ana, retrieval = tenants[0], await treacherous(database)
    async with database.transaction() as session:
        session.add(CollectionShare(collection_id=ana.collection, role_id=WRITERS))
    scope = await scope_of(database, EVE, wanted=["of ana"])
    assert ana.canary in await told(retrieval, EVE, scope, "contrat secret")
    async with database.transaction() as session:
        await session.execute(delete(CollectionShare))
        await session.execute(update(Collection).where(Collection.id == ana.collection).values(is_public=True))
    for who in (EVE, BOB, KEY):
        public = await scope_of(database, who, wanted=["of ana"])
        assert ana.canary in await told(retrieval, who, public, "contrat secret")
    async with database.transaction() as session:
        await session.execute(update(User).where(User.trigramme == "ana").values(is_active=False))
    assert ana.canary not in await told(retrieval, EVE, public, "contrat secret")


async def test_documents_of_a_chat_are_their_owners_alone(database: Database, tenants: tuple[Tenant, Tenant]) -> None:
    ana, retrieval = tenants[0], await treacherous(database)
    for who, may in ((ANA, True), (BOB, False), (ADA, False), (KEY, False)):
        scope = await scope_of(database, who, chat_id=ana.chat)
        assert (ana.canary in await told(retrieval, who, scope, "contrat secret")) == may


async def test_a_deleted_agent_leaves_nothing_to_be_found(database: Database, tenants: tuple[Tenant, Tenant]) -> None:
    ana, retrieval = tenants[0], await treacherous(database)
    scope = await scope_of(database, ANA, agent_id=ana.agent)
    async with database.transaction() as session:
        await session.execute(delete(Agent).where(Agent.id == ana.agent))
    assert ana.canary not in await told(retrieval, ANA, scope, "contrat secret")


async def test_of_two_collections_with_one_name_the_callers_own_is_meant(database: Database) -> None:
    own = await add_collection(database, ANA.user_id, "laws")
    others = [await add_collection(database, who.user_id, "laws", is_public=True) for who in (BOB, EVE)]
    assert (await scope_of(database, ANA, wanted=["laws"])).named == {own}
    assert (await scope_of(database, ANA, wanted=[str(others[0])])).named == {others[0]}
    with pytest.raises(InvalidRequest, match="by its id"):
        await scope_of(database, ADA, wanted=["laws"])
