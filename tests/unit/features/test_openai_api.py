"""OpenAI's routes: the same models, the same refusals, OpenAI's shapes."""

import base64
import json
import struct
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
from backend.features.openai_api.inference import Inference
from backend.features.openai_api.models import Models
from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderUnavailable
from backend.llm.events import Finished, TextDelta
from backend.llm.names import listable_name
from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest, ToolCall
from tests.fakes.clock import ManualClock
from tests.fakes.providers import ScriptedProvider, ScriptedServer, backend_of, drain, info, until_error

CHATS = info("plain", Capability.COMPLETION)
ALL = info("org/able", *Capability)
FILLS = info("fills", Capability.COMPLETION, Capability.INSERT)
EMBEDS = info("embeds", Capability.EMBEDDING)
OWN = info("own:7b", is_listed=False, native={"modified_at": "2026-08-01T12:00:00.5+02:00"})
USER = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
HOSTED_SINCE = 1767225600


class Rig:
    """OpenAI's routes over one hosted provider and one machine."""

    def __init__(self) -> None:
        self.hosted = ScriptedProvider(models=[CHATS, ALL, FILLS, EMBEDS])
        self.server = ScriptedServer(models=[OWN])
        backends = (backend_of(self.hosted, "cloud", "mistral"), backend_of(self.server, "local", "ollama"))
        self.recent = RecentModels(ManualClock())
        catalog = CatalogService(backends, 30)
        generation = GenerationService(Admission(AdmissionLimits(2, 0)))
        self.inference = Inference(Intake(catalog, generation, self.recent))
        self.models = Models(catalog)

    async def ask(self, route: str, **body: Any) -> Any:
        """Return the reply: one object, or the chunks of a stream."""
        answer = await getattr(self.inference, route)(json.dumps(body).encode(), CallContext(ANONYMOUS))
        if isinstance(answer, bytes):
            return json.loads(answer)
        try:
            text = await drain(answer)
        finally:
            await answer.aclose()
        if not answer.is_streamed:
            return json.loads(text)
        *chunks, done, rest = text.split(b"\n\n")
        assert (answer.content_type, done, rest) == ("text/event-stream", b"data: [DONE]", b"")
        return [json.loads(chunk[6:]) for chunk in chunks]

    async def refusal(self, route: str, **body: Any) -> tuple[int, str]:
        with pytest.raises(GatewayError) as caught:
            await self.ask(route, **body)
        assert self.hosted.requests == []
        return caught.value.status, caught.value.message


@pytest.fixture
def rig() -> Rig:
    return Rig()


N_IS_ONE = "n must be 1; send the request again for each further answer"
FULL = "registry.ollama.ai/library/{}:latest"


@pytest.mark.parametrize(
    ("route", "body", "status", "text"),
    [
        ("chat", {"messages": USER}, 400, "model is required"),
        ("chat", {"model": "a b", "messages": USER}, 400, "invalid model name"),
        ("chat", {"model": "Nope:7b", "messages": USER}, 404, "model 'Nope:7b' not found"),
        ("completion", {"model": "Nope", "prompt": "x"}, 404, "model 'Nope' not found"),
        ("embeddings", {"model": "Nope", "input": "x"}, 404, 'model "Nope" not found, try pulling it first'),
        ("embeddings", {"input": "x"}, 404, "model '' not found"),
        (
            "chat",
            {"model": "Plain", "messages": USER, "reasoning_effort": "low"},
            400,
            '"Plain" does not support thinking',
        ),
        ("chat", {"model": "embeds", "messages": USER}, 400, '"embeds" does not support chat'),
        ("completion", {"model": "embeds", "prompt": "x"}, 400, '"embeds" does not support generate'),
        (
            "chat",
            {"model": "plain", "messages": USER, "tools": TOOLS},
            400,
            FULL.format("plain") + " does not support tools",
        ),
        (
            "completion",
            {"model": "plain", "prompt": "a", "suffix": "b"},
            400,
            FULL.format("plain") + " does not support insert",
        ),
        (
            "chat",
            {
                "model": "plain",
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}],
            },
            400,
            "this model does not support image input",
        ),
        ("chat", {"model": "nope", "messages": USER, "n": 2}, 400, N_IS_ONE),
    ],
)  # fmt: skip
async def test_each_refusal_has_its_status_and_words(
    rig: Rig, route: str, body: dict[str, Any], status: int, text: str
) -> None:
    assert await rig.refusal(route, **body) == (status, text)


async def test_no_effort_is_fine_for_a_model_that_cannot_think(rig: Rig) -> None:
    await rig.ask("chat", model="plain", messages=USER, reasoning_effort="none")
    [request] = rig.hosted.requests
    assert isinstance(request, ChatRequest)
    assert request.thinking is False


async def test_a_whole_chat_reply(rig: Rig) -> None:
    reply = await rig.ask("chat", model="Plain:latest", messages=USER)
    [choice] = reply["choices"]
    assert (reply["object"], reply["model"]) == ("chat.completion", "Plain:latest")
    assert choice == {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    assert reply["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert len(rig.recent.loaded()) == 1


@pytest.mark.parametrize("wants_usage", [True, False])
async def test_a_streamed_chat_reply(rig: Rig, wants_usage: bool) -> None:
    options = {"include_usage": wants_usage}
    chunks = await rig.ask("chat", model="plain", messages=USER, stream=True, stream_options=options)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "hello"
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if "usage" in chunk] == ([9] if wants_usage else [])


async def test_calls_end_the_answer_for_their_own_reason(rig: Rig) -> None:
    rig.hosted.answers = [[[ToolCall("", "f", {"a": 1}), Finished("stop")]]]
    reply = await rig.ask("chat", model="org/able", messages=USER, tools=TOOLS)
    [choice] = reply["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"]) == {"a": 1}


async def test_a_prompt_is_a_conversation_and_a_gap_a_completion(rig: Rig) -> None:
    text = await rig.ask("completion", model="fills", prompt="a")
    streamed = await rig.ask("completion", model="fills", prompt="a", suffix="b", stream=True)
    chat, gap = rig.hosted.requests
    assert isinstance(chat, ChatRequest)
    assert isinstance(gap, CompletionRequest)
    assert text["choices"] == [{"index": 0, "text": "hello", "finish_reason": "stop"}]
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == "hello"
    assert {chunk["object"] for chunk in streamed} == {text["object"]} == {"text_completion"}


async def test_a_machine_is_asked_in_canonical_form_and_judges_its_models_itself(rig: Rig) -> None:
    await rig.ask("chat", model="own:7b", messages=USER, tools=TOOLS, reasoning_effort="high", stream=True)
    [request] = rig.server.requests
    assert isinstance(request, ChatRequest)
    assert (request.model, request.thinking, request.source) == ("own:7b", "high", None)
    assert rig.server.sources == []
    assert rig.recent.loaded() == {}


async def test_a_failure_before_the_first_byte_is_a_status_and_later_an_event(rig: Rig) -> None:
    rig.hosted.answers = [ProviderUnavailable("busy", retry_after=60)]
    with pytest.raises(ProviderUnavailable):
        await rig.ask("chat", model="plain", messages=USER, stream=True)
    rig.hosted.answers = [[[TextDelta("he")], ProviderUnavailable("gone")]]
    body = json.dumps({"model": "plain", "messages": USER, "stream": True}).encode()
    answer = await rig.inference.chat(body, CallContext(ANONYMOUS))
    told, error = await until_error(answer, ProviderUnavailable)
    await answer.aclose()
    assert b'"content":"he"' in b"".join(told)
    assert json.loads(answer.encode_error(error)[6:])["error"]["message"] == "gone"


class TestEmbeddings:
    """Unit vectors, as numbers or packed."""

    async def test_vectors_have_length_one(self, rig: Rig) -> None:
        rig.hosted.vectors = [[3.0, 4.0], [0.0, 0.0]]
        reply = await rig.ask("embeddings", model="Embeds", input=["a", "b"])
        assert reply == {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": [0.6, 0.8], "index": 0},
                {"object": "embedding", "embedding": [0.0, 0.0], "index": 1},
            ],
            "model": "Embeds",
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }
        assert len(rig.recent.loaded()) == 1

    async def test_packed_vectors_are_little_endian_floats(self, rig: Rig) -> None:
        reply = await rig.ask("embeddings", model="embeds", input="a", encoding_format="base64")
        packed = base64.b64decode(reply["data"][0]["embedding"])
        assert struct.unpack("<2f", packed) == pytest.approx((0.6, 0.8))

    async def test_a_dimension_is_asked_for_and_kept(self, rig: Rig) -> None:
        rig.hosted.vectors = [[3.0, 4.0, 12.0]]
        reply = await rig.ask("embeddings", model="embeds", input="a", dimensions=2)
        assert reply["data"][0]["embedding"] == [0.6, 0.8]
        [request] = rig.hosted.requests
        assert isinstance(request, EmbedRequest)
        assert request.dimensions == 2

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e200])
    async def test_a_vector_that_is_none_is_refused(self, rig: Rig, number: float) -> None:
        rig.hosted.vectors = [[number, 1.0]]
        with pytest.raises(GatewayError, match="NaN or Inf"):
            await rig.ask("embeddings", model="embeds", input="a", encoding_format="base64")


class TestModels:
    """The list, and one of it."""

    async def test_the_list_has_the_newest_first_and_names_owners(self, rig: Rig) -> None:
        reply = json.loads(await rig.models.list(ANONYMOUS))
        assert reply["object"] == "list"
        assert reply["data"][0] == {
            "id": "own:7b", "object": "model", "created": 1785578400, "owned_by": "library"
        }  # fmt: skip
        assert {"id": "org/able:latest", "object": "model", "created": HOSTED_SINCE, "owned_by": "org"} in reply["data"]
        assert len(reply["data"]) == 5

    async def test_an_empty_list_is_a_list(self) -> None:
        assert await Models(CatalogService((), 30)).list(ANONYMOUS) == b'{"object":"list","data":[]}'

    async def test_a_caller_sees_what_they_may_use(self, rig: Rig) -> None:
        caller = Principal("k", models=frozenset({listable_name("plain").key}))
        assert [entry["id"] for entry in json.loads(await rig.models.list(caller))["data"]] == ["plain:latest"]
        with pytest.raises(GatewayError, match="'fills' not found"):
            await rig.models.one("fills", caller)

    @pytest.mark.parametrize("name", ["org/able", "Org/Able:latest", "registry.ollama.ai/org/able:latest"])
    async def test_one_model_answers_to_each_spelling_and_repeats_it(self, rig: Rig, name: str) -> None:
        reply = json.loads(await rig.models.one(name, ANONYMOUS))
        assert reply == {"id": name, "object": "model", "created": HOSTED_SINCE, "owned_by": "org"}

    @pytest.mark.parametrize(("name", "status"), [("nope", 404), ("a b", 400), ("a/b/c/d", 400)])
    async def test_what_there_is_not_is_refused(self, rig: Rig, name: str, status: int) -> None:
        with pytest.raises(GatewayError) as caught:
            await rig.models.one(name, ANONYMOUS)
        assert caught.value.status == status
