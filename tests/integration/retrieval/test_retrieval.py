"""What is found, on both databases: by words, by vectors, and only by those who may read it."""

import uuid
from dataclasses import dataclass

import pytest
from sqlalchemy import select, update

from backend.core.db.database import Database
from backend.core.errors import StoreUnavailable
from backend.features.auth.principal import Principal
from backend.features.knowledge import retrieval as retrieval_module
from backend.features.knowledge.dense import DenseSearch
from backend.features.knowledge.models import Chunk, Document
from backend.features.knowledge.questions import Question
from backend.features.knowledge.retrieval import (
    NO_DOCUMENTS,
    NO_VECTORS,
    NOTHING_FOUND,
    SOME_VECTORS,
    Found,
    Retrieval,
)
from backend.features.knowledge.scopes import resolve
from tests.fakes.clock import ManualClock
from tests.fakes.library import FakeEmbedder, FakeIndex, FakeIndices, add_collection, add_document
from tests.fakes.team import ANA, BOB

PARKING = "Le stationnement est interdit devant les entrées de garage sous peine d'amende."
HOLIDAYS = "Chaque salarié a droit à vingt-cinq jours de congés payés par an."
NOISE = "La cantine sert un plat végétarien chaque jeudi, avec des légumes de saison."
STRANGE = "Le stationnement au garage est gratuit pour Bob."
CAR = "Une automobile laissée ici sera enlevée, référence ART-417."


async def find(
    retrieval: Retrieval, database: Database, asked: str, principal: Principal = ANA, limit: int = 5
) -> Found:
    async with database.reading() as session:
        scope = await resolve(session, principal, wanted=["laws"])
    return await retrieval.search(principal, scope, Question(asked), limit)


async def filled(database: Database, *passages: str) -> None:
    laws = await add_collection(database, ANA.user_id)
    await add_document(database, ANA.user_id, *passages, collection_id=laws)


async def number_of(database: Database, text: str) -> int:
    async with database.reading() as session:
        return (await session.execute(select(Chunk.number).where(Chunk.text == text))).scalar_one()


async def test_words_find_the_passage_with_its_page(database: Database) -> None:
    await filled(database, NOISE, PARKING, HOLIDAYS)
    found = await find(Retrieval(database), database, "Combien de jours de congés pour un salarié ?")
    [passage] = found.passages
    assert (passage.text, passage.page, passage.title, found.mode) == (HOLIDAYS, 3, "law.pdf", "keyword")


@pytest.mark.parametrize(
    "asked",
    [
        "Quelle est la capitale du Pérou ?",
        "jeudi du Pérou et du Chili",
        "?!",
        "",
        "le la les de",
        "a" * 5000,
        "\0'\"*()",
    ],
)
async def test_what_has_nothing_to_do_with_the_question_is_not_given(database: Database, asked: str) -> None:
    await filled(database, NOISE, PARKING, HOLIDAYS)
    found = await find(Retrieval(database), database, asked)
    assert (found.passages, found.mode, found.note) == ((), "none", NOTHING_FOUND)


async def test_one_exact_reference_is_enough(database: Database) -> None:
    await filled(database, NOISE, CAR)
    assert [p.text for p in (await find(Retrieval(database), database, "Que dit art-417 ?")).passages] == [CAR]


@pytest.mark.parametrize("asked", ["Où sont les écrous M8 ?", "Où est le M8 ?", "écrous", "m8"])
@pytest.mark.parametrize("written", ["Écrou M8 : tiroir 4 du magasin.", "article: Écrou M8\ntiroir: 4"])
async def test_a_short_code_and_a_word_in_another_number_are_found(
    database: Database, asked: str, written: str
) -> None:
    await filled(database, NOISE, written)
    assert [p.text for p in (await find(Retrieval(database), database, asked)).passages] == [written]


async def test_neighbours_become_one_passage_and_only_so_many_come_from_one_document(database: Database) -> None:
    await filled(database, PARKING, PARKING + " Encore.", NOISE, PARKING + " Enfin.")
    found = await find(Retrieval(database), database, "stationnement interdit garage")
    assert sorted(p.ordinals for p in found.passages) == [(0, 1), (3, 3)]
    assert next(p.text for p in found.passages if p.ordinals == (0, 1)) == f"{PARKING}\n\n{PARKING} Encore."


async def test_an_empty_collection_is_said_to_be_empty(database: Database) -> None:
    await add_collection(database, ANA.user_id)
    assert await find(Retrieval(database), database, "stationnement") == Found((), "none", NO_DOCUMENTS)


async def test_vectors_find_what_is_said_in_other_words(database: Database) -> None:
    await filled(database, NOISE, CAR)
    embedder = FakeEmbedder({})
    index = FakeIndex((await number_of(database, CAR), 0.9), (await number_of(database, NOISE), 0.1))
    found = await find(Retrieval(database, DenseSearch(lambda: embedder, index)), database, "Où garer une voiture ?")
    assert ([p.text for p in found.passages], found.mode, found.note) == ([CAR], "hybrid", "")
    assert (embedder.asked, len(index.asked)) == (["Où garer une voiture ?"], 1)


async def test_without_the_embedder_words_are_enough_and_it_is_told(database: Database) -> None:
    await filled(database, NOISE, PARKING)
    embedder = FakeEmbedder({}, failure=StoreUnavailable("away"))
    found = await find(
        Retrieval(database, DenseSearch(lambda: embedder, FakeIndex())), database, "stationnement garage"
    )
    assert ([p.text for p in found.passages], found.mode, found.note) == ([PARKING], "keyword", NO_VECTORS)


@dataclass(frozen=True)
class TwoCollections:
    """One that has what is found by meaning alone, one that has what is found by words, and one that is foreign."""

    laws: uuid.UUID
    rules: uuid.UUID
    car: tuple[int, float]
    parking: tuple[int, float]
    foreign: tuple[int, float]


async def two_collections(database: Database) -> TwoCollections:
    laws, rules = [await add_collection(database, ANA.user_id, name) for name in ("laws", "rules")]
    theirs = await add_collection(database, BOB.user_id, "theirs")
    for place, passages in ((laws, (CAR, NOISE)), (rules, (PARKING, HOLIDAYS)), (theirs, (STRANGE,))):
        await add_document(database, ANA.user_id if place != theirs else BOB.user_id, *passages, collection_id=place)
    numbers = [await number_of(database, text) for text in (CAR, PARKING, STRANGE)]
    return TwoCollections(laws, rules, (numbers[0], 0.9), (numbers[1], 0.8), (numbers[2], 1.0))


async def find_in_both(database: Database, indices: FakeIndices) -> Found:
    async with database.reading() as session:
        scope = await resolve(session, ANA, wanted=["laws", "rules"])
    retrieval = Retrieval(database, DenseSearch(lambda: FakeEmbedder({}), indices))  # type: ignore[arg-type]
    return await retrieval.search(ANA, scope, Question("stationnement garage"), 5)


async def test_an_index_that_fails_leaves_its_passages_to_words_and_the_others_to_meaning(database: Database) -> None:
    both = await two_collections(database)
    indices = FakeIndices({both.laws: [both.foreign, both.car], both.rules: StoreUnavailable("away")})
    found = await find_in_both(database, indices)
    assert ([p.text for p in found.passages], found.mode, found.note) == ([PARKING, CAR], "hybrid", SOME_VECTORS)
    whole = await find_in_both(database, FakeIndices({both.laws: [both.car], both.rules: [both.parking]}))
    assert (len(whole.passages), whole.mode, whole.note) == (2, "hybrid", "")


async def test_an_index_that_hangs_is_not_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    both = await two_collections(database)
    monkeypatch.setattr(retrieval_module, "SEARCH_SECONDS", 3.0)
    indices = FakeIndices({both.laws: [both.car], both.rules: None})
    found = await find_in_both(database, indices)
    assert ([p.text for p in found.passages], found.mode, found.note) == ([PARKING, CAR], "hybrid", SOME_VECTORS)
    assert indices.given_up == 1


async def test_where_every_index_fails_words_are_enough_and_it_is_told(database: Database) -> None:
    both = await two_collections(database)
    away = StoreUnavailable("away")
    found = await find_in_both(database, FakeIndices({both.laws: away, both.rules: away}))
    assert ([p.text for p in found.passages], found.mode, found.note) == ([PARKING], "keyword", NO_VECTORS)


async def test_a_ranking_without_some_vectors_is_not_kept(database: Database) -> None:
    both = await two_collections(database)
    told = {both.laws: [both.car], both.rules: StoreUnavailable("away")}
    retrieval = Retrieval(database, DenseSearch(lambda: FakeEmbedder({}), FakeIndices(told)))  # type: ignore[arg-type]
    async with database.reading() as session:
        scope = await resolve(session, ANA, wanted=["laws", "rules"])
    assert (await retrieval.search(ANA, scope, Question("garage"), 5)).note == SOME_VECTORS
    told[both.rules] = [both.parking]
    assert (await retrieval.search(ANA, scope, Question("garage"), 5)).note == ""


async def test_an_index_that_knows_strangers_passages_gives_none_of_them(database: Database) -> None:
    await filled(database, NOISE)
    theirs = await add_collection(database, None or ANA.user_id, "secret")
    await add_document(database, ANA.user_id, CAR, collection_id=theirs)
    index = FakeIndex((await number_of(database, CAR), 1.0), (987_654, 1.0))
    found = await find(Retrieval(database, DenseSearch(lambda: FakeEmbedder({}), index)), database, "voiture")
    assert found.passages == ()


async def test_a_version_that_was_replaced_is_not_found_even_while_rankings_are_kept(database: Database) -> None:
    await filled(database, NOISE, PARKING)
    retrieval = Retrieval(database, clock=ManualClock())
    assert (await find(retrieval, database, "stationnement garage")).passages
    async with database.transaction() as session:
        await session.execute(update(Chunk).values(is_live=False))
        await session.execute(update(Document).values(ready_version=2))
    assert not (await find(retrieval, database, "stationnement garage")).passages


class Backwards:
    """Implements `Reranker`."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def rerank(self, question: str, texts: list[str]) -> list[float]:
        assert question
        if self.failure is not None:
            raise self.failure
        return [float(PARKING in text) for text in texts]


async def test_a_reranker_has_the_last_word_and_is_not_missed(database: Database) -> None:
    laws = await add_collection(database, ANA.user_id)
    better = f"{PARKING} {NOISE}"
    for text in ("Stationnement interdit. Garage interdit.", better):
        await add_document(database, ANA.user_id, text, collection_id=laws)
    asked = "stationnement interdit garage"
    plain = [p.text for p in (await find(Retrieval(database), database, asked)).passages]
    assert plain[1] == better
    sorted_anew = await find(Retrieval(database, None, Backwards()), database, asked)
    assert sorted_anew.passages[0].text == better
    without = await find(Retrieval(database, None, Backwards(StoreUnavailable("away"))), database, asked)
    assert [p.text for p in without.passages] == plain
