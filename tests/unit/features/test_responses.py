"""The Responses route: models checked as for chat, answers in its own format, nothing stored."""

import json
from typing import Any

import pytest

from backend.core.errors import GatewayError
from backend.features.auth.context import CallContext
from backend.features.auth.principal import ANONYMOUS, Principal
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.service import GenerationService
from backend.features.responses_api.service import Responses
from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderTimeout
from backend.llm.events import Finished, TextDelta
from backend.llm.types import ChatRequest
from tests.fakes.clock import ManualClock
from tests.fakes.providers import ScriptedProvider, ScriptedServer, backend_of, drain, info, until_error

CHATS = info("plain", Capability.COMPLETION)
ALL = info("able", *Capability)
EMBEDS = info("embeds", Capability.EMBEDDING)
TOOLS = [{"type": "function", "name": "f", "parameters": {}}]
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"}


class Rig:
    """The route over one hosted provider and one Ollama machine."""

    def __init__(self) -> None:
        self.hosted = ScriptedProvider(models=[CHATS, ALL, EMBEDS])
        self.server = ScriptedServer(models=[info("own:7b", is_listed=False)])
        backends = (backend_of(self.hosted, "cloud", "mistral"), backend_of(self.server, "local", "ollama"))
        self.recent = RecentModels(ManualClock())
        generation = GenerationService(Admission(AdmissionLimits(2, 0)))
        self.responses = Responses(
            Intake(CatalogService(backends, 30), generation, self.recent), clock=lambda: 1795719248.9
        )

    async def open(self, principal: Principal = ANONYMOUS, **body: Any) -> Any:
        return await self.responses.create(json.dumps({"input": "hi", **body}).encode(), CallContext(principal))

    async def ask(self, **body: Any) -> bytes:
        answer = await self.open(**body)
        try:
            return await drain(answer)
        finally:
            await answer.aclose()

    async def refusal(self, **body: Any) -> tuple[int, str]:
        with pytest.raises(GatewayError) as caught:
            await self.open(**body)
        assert self.hosted.requests == []
        return caught.value.status, caught.value.message


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "model is required"),
        ({"model": "a b"}, 400, "invalid model name"),
        ({"model": "Nope"}, 404, "model 'Nope' not found"),
        ({"model": "Plain", "reasoning": {"effort": "low"}}, 400, '"Plain" does not support thinking'),
        ({"model": "Embeds"}, 400, '"Embeds" does not support chat'),
        ({"model": "plain", "tools": TOOLS}, 400, "registry.ollama.ai/library/plain:latest does not support tools"),
        (
            {"model": "plain", "input": [{"role": "user", "content": [IMAGE]}]},
            400,
            "this model does not support image input",
        ),
    ],
)
async def test_each_refusal_has_its_status_and_words(rig: Rig, body: dict[str, Any], status: int, text: str) -> None:
    assert await rig.refusal(**body) == (status, text)


async def test_a_caller_sees_only_the_models_it_may_use(rig: Rig) -> None:
    limited = Principal("k", models=frozenset())
    assert (await rig.refusal(model="able", principal=limited)) == (404, "model 'able' not found")


async def test_a_whole_answer_is_one_object(rig: Rig) -> None:
    reply = json.loads(await rig.ask(model="Able:latest"))
    assert (reply["model"], reply["status"], reply["created_at"]) == ("Able:latest", "completed", 1795719248)
    assert reply["output"][0]["content"][0]["text"] == "hello"
    assert list(rig.recent.loaded()) == ["registry.ollama.ai/library/able:latest"]


async def test_a_streamed_answer_is_events(rig: Rig) -> None:
    answer = await rig.open(model="able", stream=True, tools=TOOLS, reasoning={"effort": "ultra"})
    assert (answer.content_type, answer.is_streamed) == ("text/event-stream", True)
    written = await drain(answer)
    await answer.aclose()
    assert written.startswith(b"event: response.created\ndata: {")
    assert written.rsplit(b"event: ", 1)[1].startswith(b"response.completed\n")
    request = rig.hosted.requests[0]
    assert isinstance(request, ChatRequest)
    assert (request.model, request.thinking) == ("able", "max")


async def test_no_two_responses_share_an_id(rig: Rig) -> None:
    assert json.loads(await rig.ask(model="able"))["id"] != json.loads(await rig.ask(model="able"))["id"]


async def test_an_ollama_machine_answers_too(rig: Rig) -> None:
    assert json.loads(await rig.ask(model="own:7b", tools=TOOLS))["status"] == "completed"
    assert rig.server.sources == []


async def test_thinking_may_be_switched_off_on_a_model_that_does_not_think(rig: Rig) -> None:
    await rig.ask(model="plain", reasoning={"effort": "none"})
    request = rig.hosted.requests[0]
    assert isinstance(request, ChatRequest)
    assert request.thinking is False


async def test_an_answer_cut_by_its_limit_is_incomplete(rig: Rig) -> None:
    rig.hosted.answers = [[[TextDelta("so")], [Finished("length")]]]
    reply = json.loads(await rig.ask(model="able", max_output_tokens=1))
    assert reply["status"] == "incomplete"
    assert reply["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_late_failure_comes_out_of_the_answer_in_its_own_words(rig: Rig) -> None:
    rig.hosted.answers = [[[TextDelta("so")], ProviderTimeout("slow")]]
    answer = await rig.open(model="able", stream=True)
    told, error = await until_error(answer, ProviderTimeout)
    assert b"response.output_text.delta" in b"".join(told)
    assert answer.encode_error(error).count(b"slow") == 3
    await answer.aclose()
