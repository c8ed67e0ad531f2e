"""The pipeline of an answer: one more try where that is safe, and everything released on every path."""

import asyncio
from typing import Any

import pytest

from backend.core.clock import Timestamps
from backend.core.errors import Overloaded
from backend.features.auth.context import CallContext
from backend.features.auth.principal import ANONYMOUS
from backend.features.catalog.backends import Backend
from backend.features.catalog.service import CatalogModel
from backend.features.generation import routing
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.service import GenerationService
from backend.llm.errors import (
    ModelNotFound,
    ProviderAuthFailed,
    ProviderDisconnected,
    ProviderError,
    ProviderProtocolError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    ProviderUnreachable,
    UnsupportedFeature,
)
from backend.llm.events import Started, TextDelta
from backend.llm.ports import Answer
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Message,
    TextPart,
    Transcription,
    TranscriptionRequest,
    WireSource,
)
from backend.wire.ollama.encoders import CHAT, LineEncoder, ObjectEncoder
from tests.fakes.clock import ManualClock
from tests.fakes.providers import (
    HANG,
    HELLO,
    ListOnly,
    Script,
    ScriptedProvider,
    ScriptedServer,
    backend_of,
    drain,
    info,
    model_of,
    settle_loop,
)

CHAT_REQUEST = ChatRequest("M", (Message("user", (TextPart("hello there"),)),))
SOURCE = WireSource("ollama", "/api/chat", {"model": "M", "messages": [{"role": "user", "content": "x"}]})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "_PAUSES", (0.0, 0.001))


CALLER = CallContext(ANONYMOUS)


class Rig:
    """A generation service with one place, so that a place not given back is noticed."""

    def __init__(self, *providers: Any, failures: int = 3) -> None:
        self.clock = ManualClock()
        self.backends: list[Backend] = [
            backend_of(provider, f"b{i}", failures=failures, clock=self.clock) for i, provider in enumerate(providers)
        ]
        self.model: CatalogModel = model_of(*self.backends, known=info("up-id"))
        self.admission = Admission(AdmissionLimits(1, 0))
        self.service = GenerationService(self.admission)

    async def open(self, request: ChatRequest | CompletionRequest = CHAT_REQUEST) -> Answer:
        encoder = (LineEncoder if request.stream else ObjectEncoder)("M", CHAT, Timestamps())
        return await self.service.open_answer(self.model, request, encoder, CALLER)

    async def assert_released(self) -> None:
        assert [backend.in_flight for backend in self.backends] == [0] * len(self.backends)
        await self.admission.enter()  # raises `Overloaded` when the only place was not given back
        with pytest.raises(Overloaded):
            await self.admission.enter()
        self.admission.leave()
        for backend in self.backends:
            if backend.breaker.state == "open":
                self.clock.advance(1_000)
            assert backend.breaker.admits


async def test_an_answer_goes_through_with_the_upstreams_id_and_the_callers_name() -> None:
    provider = ScriptedProvider()
    rig = Rig(provider)
    answer = await rig.open()
    text = await drain(answer)
    await answer.aclose()
    assert provider.requests[0].model == "up-id"
    assert text.count(b'"model":"M"') == 3
    assert text.endswith(b"}\n")
    await rig.assert_released()


async def test_resources_are_held_while_the_answer_is_open() -> None:
    rig = Rig(ScriptedProvider())
    answer = await rig.open()
    assert rig.backends[0].in_flight == 1
    with pytest.raises(Overloaded):
        await rig.open()
    await answer.aclose()
    await rig.assert_released()


@pytest.mark.parametrize(
    "error",
    [
        ProviderRejected("no"),
        ProviderAuthFailed("no"),
        ProviderTimeout("no"),
        ProviderProtocolError("no"),
        UnsupportedFeature("no"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("when", ["open", "prime"])
async def test_a_failure_before_the_first_byte_releases_everything_and_is_not_repeated(
    error: Exception, when: str
) -> None:
    script: Script = error if when == "open" else [[Started()], error]
    provider = ScriptedProvider(script)
    rig = Rig(provider)
    with pytest.raises(type(error)):
        await rig.open()
    assert len(provider.requests) == 1
    assert all(stream.closes for stream in provider.streams)
    await rig.assert_released()


@pytest.mark.parametrize("when", ["open", "prime"])
async def test_a_failure_that_cost_nothing_is_tried_once_more(when: str) -> None:
    error = ProviderUnreachable("gone")
    provider = ScriptedProvider(error if when == "open" else [error], HELLO)
    rig = Rig(provider)
    answer = await rig.open()
    assert b"hel" in await drain(answer)
    await answer.aclose()
    assert len(provider.requests) == 2
    assert [stream.closes for stream in provider.streams] == [1] * len(provider.streams)
    await rig.assert_released()


async def test_the_second_try_goes_to_another_backend() -> None:
    first, second = ScriptedProvider(ProviderUnreachable("gone")), ScriptedProvider()
    rig = Rig(first, second)
    rig.backends[1].in_flight = 1  # so that the first one is asked first
    answer = await rig.open()
    await answer.aclose()
    rig.backends[1].in_flight -= 1
    assert (len(first.requests), len(second.requests)) == (1, 1)
    await rig.assert_released()


async def test_there_is_no_third_try() -> None:
    provider = ScriptedProvider(ProviderUnavailable("busy"))
    rig = Rig(provider)
    with pytest.raises(ProviderUnavailable):
        await rig.open()
    assert len(provider.requests) == 2
    await rig.assert_released()


@pytest.mark.parametrize("first", [(), (ProviderUnreachable("gone"),)], ids=["first try", "second try"])
async def test_an_unknown_model_is_named_as_the_caller_did(first: tuple[ProviderError, ...]) -> None:
    rig = Rig(ScriptedProvider(*first, ModelNotFound("model not found")))
    with pytest.raises(ModelNotFound) as caught:
        await rig.open()
    assert caught.value.message == "model 'M' not found"
    await rig.assert_released()


async def test_a_failure_in_mid_answer_comes_out_of_the_answer_and_is_never_repeated() -> None:
    provider = ScriptedProvider([[TextDelta("a")], ProviderUnavailable("busy")])
    rig = Rig(provider)
    answer = await rig.open()
    with pytest.raises(ProviderUnavailable):
        await drain(answer)
    await answer.aclose()
    assert len(provider.requests) == 1
    assert provider.streams[0].closes == 1
    await rig.assert_released()


@pytest.mark.parametrize(
    "script", [HANG, [HANG], [[Started()], HANG], ProviderUnavailable("busy", retry_after=4)], ids=str
)
async def test_a_client_who_leaves_before_the_first_byte_releases_everything(script: Any) -> None:
    provider = ScriptedProvider(script)
    rig = Rig(provider)
    task = asyncio.create_task(rig.open(ChatRequest("M", CHAT_REQUEST.messages, stream=False)))
    await settle_loop(20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(stream.closes == 1 for stream in provider.streams)
    await rig.assert_released()
    assert rig.backends[0].breaker.state == "closed"


async def test_a_client_who_leaves_in_mid_answer_releases_everything() -> None:
    provider = ScriptedProvider([[TextDelta("a")], HANG])
    rig = Rig(provider)
    answer = await rig.open()
    task = asyncio.create_task(drain(answer))
    await settle_loop()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await answer.aclose()
    assert provider.streams[0].closes == 1
    await rig.assert_released()


async def test_closing_twice_settles_once() -> None:
    rig = Rig(ScriptedProvider())
    answer = await rig.open()
    await answer.aclose()
    await answer.aclose()
    assert rig.backends[0].in_flight == 0
    await rig.assert_released()


async def test_failures_open_the_circuit_and_the_caller_is_told_to_wait() -> None:
    provider = ScriptedProvider(ProviderTimeout("slow"))
    rig = Rig(provider, failures=2)
    for _ in range(2):
        with pytest.raises(ProviderTimeout):
            await rig.open()
    with pytest.raises(ProviderUnavailable, match="left alone"):
        await rig.open()
    assert len(provider.requests) == 2
    await rig.assert_released()


async def test_refusals_that_are_no_outage_do_not_open_the_circuit() -> None:
    rig = Rig(ScriptedProvider(ProviderRejected("no")), failures=1)
    for _ in range(3):
        with pytest.raises(ProviderRejected):
            await rig.open()
    assert rig.backends[0].breaker.state == "closed"


async def test_the_one_try_of_a_half_open_circuit_is_given_back_when_its_client_leaves() -> None:
    rig = Rig(ScriptedProvider(ProviderTimeout("slow"), HANG), failures=1)
    with pytest.raises(ProviderTimeout):
        await rig.open()
    rig.clock.advance(11)
    task = asyncio.create_task(rig.open())
    await settle_loop()
    assert not rig.backends[0].breaker.admits
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.backends[0].breaker.state == "half-open"
    await rig.assert_released()


async def test_a_provider_that_cannot_complete_says_so() -> None:
    rig = Rig(ListOnly())
    with pytest.raises(UnsupportedFeature):
        await rig.open(CompletionRequest("M", "raw"))
    await rig.assert_released()


async def test_an_equal_wire_is_passed_through_with_the_callers_spelling() -> None:
    server = ScriptedServer()
    rig = Rig(server)
    rig.model = model_of(*rig.backends, known=info("m:latest"))
    answer = await rig.open(ChatRequest("M", CHAT_REQUEST.messages, source=SOURCE))
    assert await drain(answer) == b'{"done":true,"prompt_eval_count":7,"eval_count":2}\n'
    await answer.aclose()
    assert server.sources == [SOURCE]
    assert server.requests == []
    await rig.assert_released()


async def test_a_request_that_was_changed_is_not_passed_through() -> None:
    server = ScriptedServer()
    answer = await Rig(server).open()
    await answer.aclose()
    assert server.sources == []


async def test_a_name_only_the_gateway_knows_is_replaced_on_the_way_through() -> None:
    server = ScriptedServer()
    rig = Rig(server)
    answer = await rig.open(ChatRequest("M", CHAT_REQUEST.messages, source=SOURCE))
    await answer.aclose()
    assert server.sources[0].body["model"] == "up-id"
    assert SOURCE.body["model"] == "M"


@pytest.mark.parametrize("lines", [ProviderDisconnected("x"), (ProviderProtocolError("x"),), (RuntimeError("x"),)])
async def test_a_passed_through_answer_that_fails_to_begin_releases_everything(lines: Any) -> None:
    server = ScriptedServer()
    server.lines = lines
    rig = Rig(server)
    with pytest.raises((ProviderError, RuntimeError)):
        await rig.open(ChatRequest("M", CHAT_REQUEST.messages, source=SOURCE))
    assert all(stream.closes == 1 for stream in server.line_streams)
    await rig.assert_released()


class TestEmbed:
    """Embeddings take a place, a permit and give both back."""

    REQUEST = EmbedRequest("M", ("a", "b"))

    async def test_vectors_come_back_in_order(self) -> None:
        provider = ScriptedProvider()
        provider.vectors = [[1.0], [2.0]]
        rig = Rig(provider)
        assert (await rig.service.embed(rig.model, self.REQUEST, CALLER)).vectors == [[1.0], [2.0]]
        assert provider.requests[0].model == "up-id"
        await rig.assert_released()

    @pytest.mark.parametrize("error", [ProviderRejected("no"), ProviderTimeout("no"), RuntimeError("bug")])
    async def test_a_failure_releases_everything(self, error: Exception) -> None:
        provider = ScriptedProvider()
        provider.vectors = error
        rig = Rig(provider)
        with pytest.raises(type(error)):
            await rig.service.embed(rig.model, self.REQUEST, CALLER)
        await rig.assert_released()

    async def test_a_caller_who_leaves_releases_everything(self) -> None:
        provider = ScriptedProvider()
        provider.vectors = HANG
        rig = Rig(provider)
        task = asyncio.create_task(rig.service.embed(rig.model, self.REQUEST, CALLER))
        await settle_loop()
        assert rig.backends[0].in_flight == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rig.assert_released()

    async def test_a_provider_without_embeddings_says_so_in_the_callers_words(self) -> None:
        rig = Rig(ListOnly())
        with pytest.raises(UnsupportedFeature, match='"M" does not support embeddings'):
            await rig.service.embed(rig.model, self.REQUEST, CALLER)
        await rig.assert_released()


class TestTranscribe:
    """Transcriptions take a place and a permit as embeddings do."""

    REQUEST = TranscriptionRequest("M", b"RIFF", "audio.wav", "audio/wav")

    async def test_what_was_said_comes_back(self) -> None:
        provider = ScriptedProvider()
        provider.heard = Transcription("hello", prompt_tokens=4, completion_tokens=2)
        rig = Rig(provider)
        assert await rig.service.transcribe(rig.model, self.REQUEST, CALLER) == provider.heard
        assert provider.requests[0].model == "up-id"
        await rig.assert_released()

    @pytest.mark.parametrize("error", [ProviderRejected("no"), ProviderTimeout("no"), RuntimeError("bug")])
    async def test_a_failure_releases_everything(self, error: Exception) -> None:
        provider = ScriptedProvider()
        provider.heard = error
        rig = Rig(provider)
        with pytest.raises(type(error)):
            await rig.service.transcribe(rig.model, self.REQUEST, CALLER)
        await rig.assert_released()

    async def test_failures_open_the_circuit_and_another_backend_is_tried_once(self) -> None:
        broken, well = ScriptedProvider(), ScriptedProvider()
        broken.heard = ProviderUnreachable("no")
        rig = Rig(broken, well, failures=1)
        for _ in range(20):
            assert (await rig.service.transcribe(rig.model, self.REQUEST, CALLER)).text == "hello"
        assert len(broken.requests) <= 1
        await rig.assert_released()

    async def test_a_caller_who_leaves_releases_everything(self) -> None:
        provider = ScriptedProvider()
        provider.heard = HANG
        rig = Rig(provider)
        task = asyncio.create_task(rig.service.transcribe(rig.model, self.REQUEST, CALLER))
        await settle_loop()
        assert rig.backends[0].in_flight == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rig.assert_released()

    async def test_a_backend_that_cannot_hear_says_so(self) -> None:
        rig = Rig(ListOnly())
        with pytest.raises(UnsupportedFeature, match="this backend cannot transcribe audio; choose a speech model"):
            await rig.service.transcribe(rig.model, self.REQUEST, CALLER)
        await rig.assert_released()
