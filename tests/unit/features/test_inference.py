"""Chat, generate and embeddings: checked in Ollama's order, refused in Ollama's words."""

import json
from typing import Any

import pytest

from backend.core.errors import GatewayError
from backend.features.auth.context import CallContext
from backend.features.auth.principal import ANONYMOUS
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.service import GenerationService
from backend.features.ollama_api.inference import Inference
from backend.llm.capabilities import Capability
from backend.llm.types import ChatRequest, CompletionRequest
from tests.fakes.clock import ManualClock
from tests.fakes.providers import ScriptedProvider, ScriptedServer, backend_of, drain, info

CHATS = info("plain", Capability.COMPLETION)
ALL = info("able", *Capability)
FILLS = info("fills", Capability.COMPLETION, Capability.INSERT)
EMBEDS = info("embeds", Capability.EMBEDDING)
GUESSED = info("guessed", Capability.COMPLETION, is_listed=False)
USER = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"


class Rig:
    """The inference routes over one hosted provider and one machine."""

    def __init__(self) -> None:
        self.hosted = ScriptedProvider(models=[CHATS, ALL, FILLS, EMBEDS, GUESSED])
        self.server = ScriptedServer(models=[info("own:7b", is_listed=False)])
        backends = (backend_of(self.hosted, "cloud", "mistral"), backend_of(self.server, "local", "ollama"))
        self.recent = RecentModels(ManualClock())
        generation = GenerationService(Admission(AdmissionLimits(2, 0)))
        self.inference = Inference(Intake(CatalogService(backends, 30), generation, self.recent))

    async def ask(self, route: str, **body: Any) -> Any:
        """Return the reply: one object, or the lines of a stream."""
        answer = await getattr(self.inference, route)(json.dumps(body).encode(), CallContext(ANONYMOUS))
        if not isinstance(answer, bytes):
            try:
                text = await drain(answer)
            finally:
                await answer.aclose()
            lines = [json.loads(line) for line in text.split(b"\n") if line]
            return lines if answer.is_streamed else lines[0]
        return json.loads(answer)

    async def refusal(self, route: str, **body: Any) -> tuple[int, str]:
        with pytest.raises(GatewayError) as caught:
            await self.ask(route, **body)
        assert self.hosted.requests == []
        return caught.value.status, caught.value.message


@pytest.fixture
def rig() -> Rig:
    return Rig()


FULL = "registry.ollama.ai/library/{}:latest"


@pytest.mark.parametrize(
    ("route", "body", "status", "text"),
    [
        ("chat", {}, 400, "model is required"),
        ("generate", {}, 404, "model '' not found"),
        ("embed", {}, 404, "model '' not found"),
        ("embeddings", {}, 400, "model is required"),
        ("chat", {"model": "a b"}, 400, "invalid model name"),
        ("chat", {"model": "Nope"}, 404, "model 'Nope' not found"),
        ("generate", {"model": "Nope:7b"}, 404, "model 'Nope:7b' not found"),
        ("embed", {"model": "Nope"}, 404, 'model "Nope" not found, try pulling it first'),
        ("embeddings", {"model": "Nope"}, 404, 'model "Nope" not found, try pulling it first'),
        ("chat", {"model": "Plain", "think": True}, 400, '"Plain" does not support thinking'),
        ("generate", {"model": "plain", "think": "low"}, 400, '"plain" does not support thinking'),
        ("chat", {"model": "Embeds"}, 400, '"Embeds" does not support chat'),
        ("generate", {"model": "embeds", "prompt": "x"}, 400, '"embeds" does not support generate'),
        ("chat", {"model": "plain", "tools": TOOLS}, 400, FULL.format("plain") + " does not support tools"),
        (
            "generate",
            {"model": "plain", "prompt": "a", "suffix": "b"},
            400,
            FULL.format("plain") + " does not support insert",
        ),
        ("generate", {"model": "plain", "prompt": "a", "raw": True}, 400, "raw mode is not supported by this upstream"),
        (
            "chat",
            {"model": "plain", "messages": [{**USER[0], "images": [PNG]}]},
            400,
            "this model does not support image input",
        ),
        (
            "generate",
            {"model": "fills", "prompt": "x", "raw": True, "system": "s"},
            400,
            "raw mode does not support template, system, or context",
        ),
        ("chat", {"model": "plain", "top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        ("embed", {"model": "embeds", "input": 5}, 400, "invalid input type"),
    ],
)
async def test_each_refusal_has_its_status_and_words(
    rig: Rig, route: str, body: dict[str, Any], status: int, text: str
) -> None:
    assert await rig.refusal(route, **body) == (status, text)


@pytest.mark.parametrize("route", ["chat", "generate"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "nope", "think": "ultra"}, "invalid think value"),
        ({"model": "nope", "top_logprobs": 99}, "top_logprobs"),
        ({"top_logprobs": 99}, "top_logprobs"),
        ({"model": "nope", "options": {"temperature": "hot"}}, "not found"),
        ({"model": "nope", "think": True}, "not found"),
        ({"model": "embeds", "think": True, "options": {"temperature": "hot"}}, "does not support thinking"),
        ({"model": "embeds", "options": {"temperature": "hot"}}, "does not support"),
        ({"model": "plain", "options": {"temperature": "hot"}}, 'option "temperature" must be'),
    ],
)
async def test_of_several_mistakes_the_first_in_ollamas_order_is_told(
    rig: Rig, route: str, body: dict[str, Any], words: str
) -> None:
    assert words in (await rig.refusal(route, **body))[1]


class TestLoadAndUnload:
    """An empty request only loads; with `keep_alive` 0 it unloads, before any other check."""

    @pytest.mark.parametrize(
        ("route", "body", "reason"),
        [
            ("chat", {}, "load"),
            ("chat", {"messages": []}, "load"),
            ("chat", {"keep_alive": 0}, "unload"),
            ("chat", {"keep_alive": "0s", "think": True, "tools": TOOLS}, "unload"),
            ("generate", {}, "load"),
            ("generate", {"images": [PNG]}, "load"),
            ("generate", {"keep_alive": 0, "think": True, "raw": True, "system": "s"}, "unload"),
        ],
    )
    async def test_an_empty_request_asks_nobody(self, rig: Rig, route: str, body: Any, reason: str) -> None:
        reply = await rig.ask(route, model="Plain", **body)
        assert (reply["model"], reply["done"], reply["done_reason"]) == ("Plain", True, reason)
        assert ("message" in reply) is (route == "chat")
        assert bool(rig.recent.loaded()) is (reason == "load")
        assert rig.hosted.requests == []

    async def test_unloading_what_nobody_has_is_not_found(self, rig: Rig) -> None:
        assert (await rig.refusal("chat", model="nope", keep_alive=0))[0] == 404

    async def test_loading_tells_what_a_model_cannot(self, rig: Rig) -> None:
        assert "thinking" in (await rig.refusal("chat", model="plain", think=True))[1]

    @pytest.mark.parametrize("route", ["chat", "generate"])
    async def test_a_machine_loads_and_unloads_by_itself(self, rig: Rig, route: str) -> None:
        await rig.ask(route, model="own:7b", keep_alive=0, think=True)
        assert rig.server.sources[0].body["keep_alive"] == 0
        assert rig.recent.loaded() == {}


async def test_a_machine_judges_its_models_itself(rig: Rig) -> None:
    await rig.ask("chat", model="own:7b", messages=USER, tools=TOOLS, think=True)
    assert rig.server.sources[0].body["tools"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("route", "field"), [("chat", "message"), ("generate", "response")])
async def test_an_answer_is_written_for_its_route(rig: Rig, route: str, field: str, stream: bool) -> None:
    reply = await rig.ask(route, model="Plain:latest", messages=USER, prompt="hello", stream=stream)
    last = reply[-1] if stream else reply
    assert field in last
    assert (last["model"], last["done_reason"], last["eval_count"]) == ("Plain:latest", "stop", 2)
    assert len(rig.recent.loaded()) == 1


async def test_a_gap_and_raw_text_are_completions_everything_else_a_conversation(rig: Rig) -> None:
    await rig.ask("generate", model="fills", prompt="a", suffix="b")
    await rig.ask("generate", model="guessed", prompt="a", raw=True)
    await rig.ask("generate", model="fills", prompt="a", system="s")
    gap, raw, chat = rig.hosted.requests
    assert isinstance(gap, CompletionRequest)
    assert (gap.suffix, isinstance(raw, CompletionRequest)) == ("b", True)
    assert isinstance(chat, ChatRequest)
    assert [message.role for message in chat.messages] == ["system", "user"]


async def test_a_guess_about_images_is_not_held_against_anybody(rig: Rig) -> None:
    await rig.ask("chat", model="guessed", messages=[{**USER[0], "images": [PNG]}])
    assert len(rig.hosted.requests) == 1


class TestEmbeddings:
    """Unit vectors on the newer route, the upstream's own on the older."""

    async def test_vectors_have_length_one(self, rig: Rig) -> None:
        rig.hosted.vectors = [[3.0, 4.0], [0.0, 0.0]]
        reply = await rig.ask("embed", model="Embeds", input=["a", "b"])
        assert reply["embeddings"] == [[0.6, 0.8], [0.0, 0.0]]
        assert (reply["model"], reply["prompt_eval_count"]) == ("Embeds", 5)
        assert reply["total_duration"] >= reply["load_duration"] >= 1

    async def test_a_dimension_cuts_before_the_length_is_made_one(self, rig: Rig) -> None:
        rig.hosted.vectors = [[3.0, 4.0, 12.0]]
        assert (await rig.ask("embed", model="embeds", input="a", dimensions=2))["embeddings"] == [[0.6, 0.8]]

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e200])
    async def test_a_vector_that_is_none_is_refused(self, rig: Rig, number: float) -> None:
        rig.hosted.vectors = [[number, 1.0]]
        with pytest.raises(GatewayError, match="NaN or Inf"):
            await rig.ask("embed", model="embeds", input="a")

    async def test_the_older_route_gives_the_vector_as_it_came(self, rig: Rig) -> None:
        assert await rig.ask("embeddings", model="embeds", prompt="a") == {"embedding": [3.0, 4.0]}

    @pytest.mark.parametrize(
        ("route", "reply"),
        [("embed", {"model": "embeds", "embeddings": []}), ("embeddings", {"embedding": []})],
    )
    async def test_nothing_to_embed_only_loads(self, rig: Rig, route: str, reply: Any) -> None:
        assert await rig.ask(route, model="embeds") == reply
        assert rig.hosted.requests == []
        assert len(rig.recent.loaded()) == 1

    async def test_a_machine_gets_the_callers_own_body(self, rig: Rig) -> None:
        await rig.ask("embed", model="own:7b", input="a", options={"num_ctx": 64})
        [request] = rig.server.requests
        assert request.source is not None
        assert request.source.body["options"] == {"num_ctx": 64}
        assert rig.recent.loaded() == {}
