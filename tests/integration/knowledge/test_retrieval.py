"""What is found, on both databases: by words, by vectors, and only by those who may read it."""


from backend.core.db.database import Database
from backend.features.auth.principal import Principal
from backend.features.knowledge.questions import Question
from backend.features.knowledge.retrieval import Found, Retrieval
from backend.features.knowledge.scopes import resolve
from tests.fakes.library import add_collection, add_document
from tests.fakes.team import ANA

PARKING = "Le stationnement est interdit devant les entrées de garage sous peine d'amende."
HOLIDAYS = "Chaque salarié a droit à vingt-cinq jours de congés payés par an."
NOISE = "La cantine sert un plat végétarien chaque jeudi, avec des légumes de saison."


async def find(retrieval: Retrieval, database: Database, principal: Principal, asked: str, name: str = "laws") -> Found:
    async with database.reading() as session:
        scope = await resolve(session, principal, wanted=[name])
    return await retrieval.search(principal, scope, Question(asked), 5)


async def test_words_find_the_passage_with_its_page(database: Database) -> None:
    laws = await add_collection(database, ANA.user_id)
    await add_document(database, ANA.user_id, NOISE, PARKING, HOLIDAYS, collection_id=laws)
    found = await find(Retrieval(database), database, ANA, "Combien de jours de congés pour un salarié ?")
    [passage] = found.passages
    assert (passage.text, passage.page, passage.title, found.mode) == (HOLIDAYS, 3, "law.pdf", "keyword")
