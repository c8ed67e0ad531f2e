"""What recorders are told of a request, and when."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from backend.core.clock import Timestamps
from backend.core.errors import GatewayError, RateLimited
from backend.features.auth.context import CallContext
from backend.features.auth.principal import ANONYMOUS
from backend.features.generation import routing
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.record import Answered, Asked
from backend.features.generation.service import GenerationService
from backend.features.generation.transcript import Said, Transcript
from backend.llm.errors import ProviderTimeout, ProviderUnavailable
from backend.llm.events import Finished, Started, TextDelta, ThinkingDelta, Usage
from backend.llm.types import (
    ChatRequest,
    EmbedRequest,
    Message,
    TextPart,
    ToolCall,
    Transcription,
    TranscriptionRequest,
)
from backend.wire.ollama.encoders import CHAT, LineEncoder, ObjectEncoder
from tests.fakes.providers import HANG, ScriptedProvider, backend_of, drain, info, model_of, settle_loop

CALLER = CallContext(ANONYMOUS, "c1")
REQUEST = ChatRequest("M", (Message("user", (TextPart("hello there"),)),))
SPEECH = TranscriptionRequest("M", b"0" * 12_000, "audio.wav", "audio/wav")
SAYS: Sequence[Any] = [[Started(), TextDelta("Hi")], [TextDelta(" you"), Finished("stop", Usage(5, 2))]]


class Notes:
    """A recorder and its records: what each was told."""

    wants_text = True

    def __init__(
        self, refusal: GatewayError | None = None, *, refuses_at_once: bool = False, is_broken: bool = False
    ) -> None:
        self.refusal = refusal
        self.refuses_at_once = refuses_at_once
        self.is_broken = is_broken
        self.asked: list[Asked] = []
        self.answered: list[Answered] = []
        self.said: list[Said] = []

    def begin(self, asked: Asked) -> "Notes":
        if self.refusal is not None and self.refuses_at_once:
            raise self.refusal
        self.asked.append(asked)
        return self

    async def begun(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def finish(self, answered: Answered) -> Awaitable[None]:
        self.answered.append(answered)
        self.said.append(self.asked[-1].transcript.read())
        if self.is_broken:
            raise RuntimeError("a bug")
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def service(*recorders: Notes) -> GenerationService:
    return GenerationService(Admission(AdmissionLimits(1, 0)), recorders)


async def open_with(notes: GenerationService, provider: Any) -> Any:
    model = model_of(backend_of(provider, "b"), known=info("up-id"))
    return await notes.open_answer(model, REQUEST, LineEncoder("M", CHAT, Timestamps()), CALLER)


async def test_an_answer_is_kept_before_its_client_is_told_that_it_is_complete() -> None:
    notes = Notes()
    answer = await open_with(service(notes), ScriptedProvider(SAYS))
    pieces: list[bytes] = []
    async for piece in answer:
        pieces.append(piece)
        assert bool(notes.answered) == (b'"done":true' in piece)
    await answer.aclose()
    [told] = notes.answered
    assert (told.outcome, told.usage, told.backend, told.model_id) == ("ok", Usage(5, 2), "b", "up-id")
    assert notes.said == [Said("Hi you")]
    assert b" you" in pieces[-2], "the last token did not wait for the store"
    assert (notes.asked[0].context, notes.asked[0].request) == (CALLER, REQUEST)


async def test_an_answer_whose_client_leaves_is_kept_as_far_as_it_came() -> None:
    notes = Notes()
    answer = await open_with(service(notes), ScriptedProvider(SAYS))
    await answer.__anext__()
    await answer.aclose()
    await answer.aclose()
    [told] = notes.answered
    assert told.outcome == "interrupted"
    assert told.usage.completion_tokens is not None
    assert notes.said == [Said("Hi")]


async def test_an_answer_that_breaks_is_an_error_with_its_reason() -> None:
    notes = Notes()
    answer = await open_with(service(notes), ScriptedProvider([SAYS[0], ProviderUnavailable("gone away")]))
    with pytest.raises(ProviderUnavailable):
        await drain(answer)
    await answer.aclose()
    [told] = notes.answered
    assert (told.outcome, told.error) == ("error", "gone away")


async def test_a_request_that_no_backend_takes_is_kept_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "_PAUSES", (0.0, 0.001))
    notes = Notes()
    with pytest.raises(ProviderUnavailable):
        await open_with(service(notes), ScriptedProvider([ProviderUnavailable("no"), ProviderUnavailable("no")]))
    [told] = notes.answered
    assert (told.outcome, told.usage) == ("error", Usage(0, 0))


@pytest.mark.parametrize("refuses_at_once", [True, False])
async def test_who_began_is_told_of_a_refusal(refuses_at_once: bool) -> None:
    first, third = Notes(), Notes()
    second = Notes(RateLimited("too much", retry_after=3), refuses_at_once=refuses_at_once)
    generation = service(first, second, third)
    provider = ScriptedProvider(SAYS)
    with pytest.raises(RateLimited):
        await open_with(generation, provider)
    began = (first,) if refuses_at_once else (first, second, third)
    assert [told.error for notes in (first, second, third) for told in notes.answered] == ["too much"] * len(began)
    assert not provider.requests
    second.refusal = None
    await (await open_with(generation, provider)).aclose()  # the only place was given back


async def test_a_recorder_with_a_bug_keeps_nobody_from_the_answer() -> None:
    broken, whole = Notes(is_broken=True), Notes()
    answer = await open_with(service(broken, whole), ScriptedProvider(SAYS))
    assert (await drain(answer)).endswith(b"}\n")
    assert [told.outcome for told in whole.answered] == ["ok"]


async def test_vectors_are_counted_too() -> None:
    notes = Notes()
    model = model_of(backend_of(ScriptedProvider(), "b"), known=info("up-id"))
    await service(notes).embed(model, EmbedRequest("M", ("a", "b")), CALLER)
    [told] = notes.answered
    assert told.outcome == "ok"
    assert told.usage.completion_tokens == 0
    assert told.usage.prompt_tokens


@pytest.mark.parametrize("leaves", [True, False])
async def test_an_answer_in_one_piece_that_never_came_is_charged_as_far_as_it_was_written(leaves: bool) -> None:
    notes, pieces = Notes(), [[TextDelta("a")]] * 500
    provider = ScriptedProvider([*pieces, HANG if leaves else ProviderTimeout("gone")])
    model, request = model_of(backend_of(provider, "b"), known=info("up-id")), replace(REQUEST, stream=False)
    encoder = ObjectEncoder("M", CHAT, Timestamps())
    asking = asyncio.create_task(service(notes).open_answer(model, request, encoder, CALLER))
    await settle_loop(1_000)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    [told] = notes.answered
    assert (told.outcome, told.usage) == ("interrupted" if leaves else "error", Usage(2, 500))


async def test_who_leaves_while_vectors_or_a_transcription_are_made_is_charged_what_was_to_be_read() -> None:
    provider, notes = ScriptedProvider(), Notes()
    provider.vectors = provider.heard = HANG
    model, generation = model_of(backend_of(provider, "b"), known=info("up-id")), service(notes)
    for asked in (
        generation.embed(model, EmbedRequest("M", ("a" * 40,)), CALLER),
        generation.transcribe(model, SPEECH, CALLER),
    ):
        asking = asyncio.create_task(asked)
        await settle_loop()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert [(told.outcome, told.usage) for told in notes.answered] == [
        ("interrupted", Usage(10, 0)),
        ("interrupted", Usage(3, 0)),
    ]


@pytest.mark.parametrize(
    ("heard", "charged"),
    [(Transcription("h" * 40), Usage(3, 10)), (Transcription("h", prompt_tokens=7, completion_tokens=8), Usage(7, 8))],
)
async def test_a_transcription_that_nobody_counted_is_estimated(heard: Transcription, charged: Usage) -> None:
    provider, notes = ScriptedProvider(), Notes()
    provider.heard = heard
    await service(notes).transcribe(model_of(backend_of(provider, "b"), known=info("up-id")), SPEECH, CALLER)
    assert [told.usage for told in notes.answered] == [charged]
    assert notes.asked[0].estimate() == 3


def test_a_transcript_reads_events_and_lines_alike() -> None:
    transcript = Transcript()
    call = ToolCall("", "f", {"a": 1})
    transcript.append([ThinkingDelta("hm"), TextDelta("A"), call])
    transcript.append(b'{"message":{"content":"B"},"done":false}\n{"response":"C","done":false}\n')
    transcript.append(b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":true}')
    assert transcript.read() == Said("ABC", "hm", (call, call))
    assert transcript.read(transcript.length - 1).text == ""
    transcript.append(b"not json\n")
    assert transcript.read().text == "ABC"
    transcript.clear()
    assert transcript.read() == Said()
