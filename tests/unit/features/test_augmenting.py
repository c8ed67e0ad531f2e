"""What is put before a question on its way: asked for once, kept out of records, told at the end."""

from typing import Any

import pytest

from backend.core.clock import Timestamps
from backend.core.errors import StoreUnavailable
from backend.features.auth.context import CallContext, KnowledgeWish
from backend.features.auth.principal import ANONYMOUS
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.augment import Augmented
from backend.features.generation.record import Answered, Asked
from backend.features.generation.service import GenerationService
from backend.features.knowledge.augmenter import KnowledgeAugmenter
from backend.llm.events import Finished, TextDelta
from backend.llm.grounding import Grounding, Source, write_grounding
from backend.llm.types import ChatRequest, CompletionRequest, Message, TextPart, WireSource
from backend.wire.ollama.encoders import CHAT, LineEncoder
from tests.fakes.providers import ScriptedServer, backend_of, drain, info, model_of

SOURCE = WireSource("ollama", "/api/chat", {"model": "M", "messages": []})
ASKED = ChatRequest("M", (Message("user", (TextPart("q"),)),), source=SOURCE)
GIVEN = ChatRequest("M", (Message("user", (TextPart("sources, q"),)),))
GROUNDING = Grounding((Source(1, "d", "law.pdf", 2, 0.5),), "keyword", 3)


class Librarian:
    """Implements `Augmenter`."""

    def __init__(self, *, has_footer: bool = False, failure: Exception | None = None) -> None:
        self.asked: list[Asked] = []
        self._done = Augmented(GIVEN, GROUNDING, has_footer)
        self._failure = failure

    async def augment(self, asked: Asked, request: ChatRequest) -> Augmented | None:
        self.asked.append(asked)
        assert request == ASKED
        if self._failure is not None:
            raise self._failure
        return self._done


class Notes:
    """Implements `Recorder` and `Record`."""

    wants_text = True

    def __init__(self) -> None:
        self.asked: Asked | None = None
        self.answered: Answered | None = None

    def begin(self, asked: Asked) -> "Notes":
        self.asked = asked
        return self

    async def begun(self) -> None:
        pass

    def finish(self, answered: Answered) -> None:
        self.answered = answered


async def ask(librarian: Any, request: Any = ASKED) -> tuple[ScriptedServer, Notes, bytes]:
    provider, notes = ScriptedServer(), Notes()
    service = GenerationService(Admission(AdmissionLimits(1, 0)), (notes,), librarian)
    encoder = LineEncoder("M", CHAT, Timestamps())
    answer = await service.open_answer(
        model_of(backend_of(provider), known=info("up")), request, encoder, CallContext(ANONYMOUS)
    )
    told = await drain(answer)
    await answer.aclose()
    return provider, notes, told


async def test_the_upstream_gets_the_sources_and_the_records_what_was_asked() -> None:
    provider, notes, told = await ask(Librarian())
    assert provider.sources == []
    [sent] = provider.requests
    assert isinstance(sent, ChatRequest)
    assert sent.messages == GIVEN.messages
    assert notes.asked is not None
    assert notes.asked.request is ASKED
    assert notes.answered is not None
    assert notes.answered.grounding is GROUNDING
    assert (
        b'"rag":{"sources":[{"n":1,"document_id":"d","title":"law.pdf","page":2,"score":0.5}]' in told.splitlines()[-1]
    )


async def test_a_footer_is_part_of_the_answer() -> None:
    _, notes, told = await ask(Librarian(has_footer=True))
    assert b"Sources: [1] law.pdf, p. 2" in told.splitlines()[-2]
    assert notes.asked is not None
    assert notes.asked.transcript.read().text.endswith("\n\nSources: [1] law.pdf, p. 2")


async def test_text_without_a_template_is_not_asked_about() -> None:
    librarian = Librarian()
    _, notes, told = await ask(librarian, CompletionRequest("M", "raw"))
    assert (librarian.asked, b"rag" in told) == ([], False)
    assert notes.answered is not None
    assert notes.answered.grounding is None


async def test_a_refusal_gives_the_place_back_and_is_recorded() -> None:
    notes, admission = Notes(), Admission(AdmissionLimits(1, 0))
    service = GenerationService(admission, (notes,), Librarian(failure=StoreUnavailable("no documents")))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await service.open_answer(
                model_of(backend_of(ScriptedServer())),
                ASKED,
                LineEncoder("M", CHAT, Timestamps()),
                CallContext(ANONYMOUS),
            )
    assert notes.answered is not None
    assert (notes.answered.outcome, notes.answered.error) == ("error", "no documents")


@pytest.mark.parametrize(
    "wish", [KnowledgeWish(), KnowledgeWish(is_off=True), KnowledgeWish(is_off=True, collections=("a",))]
)
async def test_what_is_not_about_documents_never_looks_at_the_store(wish: KnowledgeWish) -> None:
    nowhere: Any = None
    context = CallContext(ANONYMOUS, knowledge=wish)
    asked = Asked(context, model_of(backend_of(ScriptedServer())), ASKED, lambda: 1, nowhere)
    assert await KnowledgeAugmenter(nowhere, nowhere).augment(asked, ASKED) is None


def test_nothing_is_told_without_a_grounding_and_a_note_only_where_there_is_one() -> None:
    assert write_grounding(None) == {}
    assert write_grounding(Grounding((), "none", 1)) == {"rag": {"sources": [], "mode": "none", "ms": 1}}
    assert write_grounding(Grounding((), "none", 1, "why"))["rag"]["note"] == "why"
    assert Finished("stop").grounding is None
    assert TextDelta("x").text == "x"
