"""The messages API over hosted models and an Ollama machine: what they are asked, what is refused, what is counted."""

import json
from typing import Any

import pytest

from backend.core.errors import GatewayError
from backend.features.anthropic_api.service import Messages
from backend.features.auth.context import CallContext
from backend.features.auth.principal import ANONYMOUS
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.service import GenerationService
from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderError
from backend.llm.events import Finished, TextDelta
from backend.llm.types import ChatRequest, Thinking
from tests.fakes.clock import ManualClock
from tests.fakes.providers import ScriptedProvider, ScriptedServer, backend_of, drain, info, until_error

PLAIN = info("plain", Capability.COMPLETION)
ABLE = info("able", *Capability)
EMBEDS = info("embeds", Capability.EMBEDDING)
UNKNOWN = info("unknown", is_listed=False)
USER = [{"role": "user", "content": "hello"}]
TOOLS = [{"name": "f", "input_schema": {}}]
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"},
}
FULL = "registry.ollama.ai/library/{}:latest"


class Rig:
    """The messages API over one hosted provider and one machine."""

    def __init__(self) -> None:
        self.hosted = ScriptedProvider(models=[PLAIN, ABLE, EMBEDS, UNKNOWN])
        own = [info("own:7b", is_listed=False), info("thinks:7b", Capability.COMPLETION, Capability.THINKING)]
        self.server = ScriptedServer(models=own)
        backends = (backend_of(self.hosted, "cloud", "mistral"), backend_of(self.server, "local", "ollama"))
        self.recent = RecentModels(ManualClock())
        generation = GenerationService(Admission(AdmissionLimits(2, 0)))
        self.messages = Messages(Intake(CatalogService(backends, 30), generation, self.recent))

    async def ask(self, **body: Any) -> bytes:
        """Return the bytes of the answer."""
        raw = json.dumps({"max_tokens": 9, "messages": USER, **body}).encode()
        answer = await self.messages.create(raw, CallContext(ANONYMOUS, request_id="r1"))
        try:
            return await drain(answer)
        finally:
            await answer.aclose()

    async def refusal(self, **body: Any) -> tuple[int, str]:
        with pytest.raises(GatewayError) as caught:
            await self.ask(**body)
        assert (self.hosted.requests, self.server.requests, self.recent.loaded()) == ([], [], {})
        return caught.value.status, caught.value.message

    async def count(self, **body: Any) -> Any:
        raw = json.dumps({"messages": USER, **body}).encode()
        return json.loads(await self.messages.count_tokens(raw, CallContext(ANONYMOUS)))

    def thinking_sent(self) -> Thinking | None:
        (request,) = [*self.hosted.requests, *self.server.requests]
        assert isinstance(request, ChatRequest)
        return request.thinking


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_whole_answer_is_one_message(rig: Rig) -> None:
    message = json.loads(await rig.ask(model="Plain"))
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "Plain",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 2},
    }


async def test_a_streamed_answer_begins_with_an_estimate_and_ends_with_the_count(rig: Rig) -> None:
    frames = (await rig.ask(model="plain", stream=True, system="x" * 95)).split(b"\n\n")
    first, last = (json.loads(frame.partition(b"data: ")[2]) for frame in (frames[0], frames[-3]))
    assert first["message"]["usage"] == {"input_tokens": 25, "output_tokens": 0}
    assert last["usage"] == {"input_tokens": 7, "output_tokens": 2}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "model is required"),
        ({"model": "plain", "max_tokens": None}, 400, "max_tokens is required and must be positive"),
        ({"model": "nope", "messages": []}, 400, "messages is required"),
        ({"model": "a b"}, 400, "invalid model name"),
        ({"model": "Nope"}, 404, "model 'Nope' not found"),
        ({"model": "Embeds"}, 400, '"Embeds" does not support chat'),
        ({"model": "plain", "tools": TOOLS}, 400, FULL.format("plain") + " does not support tools"),
        (
            {"model": "plain", "messages": [{"role": "user", "content": [PICTURE]}]},
            400,
            "this model does not support image input",
        ),
    ],
)
async def test_what_cannot_be_answered_is_refused_before_anything_is_sent(
    rig: Rig, body: dict[str, Any], status: int, text: str
) -> None:
    assert await rig.refusal(**body) == (status, text)


@pytest.mark.parametrize(
    ("model", "thinking", "sent"),
    [
        ("able", "enabled", True),
        ("able", "disabled", False),
        ("able", "adaptive", None),
        ("plain", "enabled", None),
        ("plain", "disabled", False),
        ("unknown", "enabled", True),
        ("own:7b", "enabled", None),
        ("own:7b", "disabled", False),
        ("thinks:7b", "enabled", True),
    ],
)
async def test_a_wish_to_think_is_dropped_where_it_cannot_be_fulfilled(
    rig: Rig, model: str, thinking: str, sent: Thinking | None
) -> None:
    await rig.ask(model=model, thinking={"type": thinking})
    assert rig.thinking_sent() == sent


async def test_an_effort_is_dropped_like_a_wish_to_think(rig: Rig) -> None:
    await rig.ask(model="plain", output_config={"effort": "high"})
    assert rig.thinking_sent() is None


async def test_a_used_model_counts_as_loaded(rig: Rig) -> None:
    await rig.ask(model="plain")
    assert list(rig.recent.loaded()) == ["registry.ollama.ai/library/plain:latest"]


async def test_a_failure_in_mid_answer_names_the_request(rig: Rig) -> None:
    rig.hosted.answers = [([TextDelta("a")], ProviderError("it broke"))]
    answer = await rig.messages.create(
        json.dumps({"model": "plain", "max_tokens": 9, "messages": USER, "stream": True}).encode(),
        CallContext(ANONYMOUS, request_id="r1"),
    )
    _, error = await until_error(answer, ProviderError)
    event = answer.encode_error(error)
    await answer.aclose()
    assert event.startswith(b"event: error\n")
    assert json.loads(event.partition(b"data: ")[2]) == {
        "type": "error",
        "error": {"type": "api_error", "message": "it broke"},
        "request_id": "req_r1",
    }


async def test_tokens_the_upstream_did_not_count_are_estimated_with_the_tools(rig: Rig) -> None:
    rig.hosted.answers = [([TextDelta("a"), Finished("stop")],)]
    tools = [{"name": "f", "description": "d" * 397, "input_schema": {}}]
    message = json.loads(await rig.ask(model="able", tools=tools, messages=[{"role": "user", "content": "x" * 40}]))
    assert message["usage"] == {"input_tokens": (40 + 1 + 397 + 2) // 4, "output_tokens": 1}


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 1),
        ({"messages": [{"role": "user", "content": "x" * 399}]}, 99),
        ({"system": "x" * 400}, 101),
        ({"tools": [{"name": "name", "description": "d" * 91, "input_schema": {}}]}, 25),
        ({"tools": TOOLS, "tool_choice": {"type": "any"}}, 2),
    ],
)
async def test_a_count_is_an_estimate_that_asks_nobody(rig: Rig, body: dict[str, Any], tokens: int) -> None:
    assert await rig.count(model="plain", **body) == {"input_tokens": tokens}
    assert rig.hosted.requests == []
    assert rig.recent.loaded() == {}


@pytest.mark.parametrize(
    ("body", "status"), [({}, 400), ({"model": "nope"}, 404), ({"model": "plain", "messages": []}, 400)]
)
async def test_a_count_refuses_what_an_answer_would(rig: Rig, body: dict[str, Any], status: int) -> None:
    with pytest.raises(GatewayError) as caught:
        await rig.count(**body)
    assert caught.value.status == status
