"""Mistral's platform: fields it may refuse, gap filling, embeddings, reasoning by its own list."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backend.llm.capabilities import Capability
from backend.llm.errors import ContextTooLong, ProviderProtocolError, ProviderRejected, UnsupportedFeature
from backend.llm.events import Finished, TextDelta, ThinkingDelta
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Message,
    Sampling,
    TextPart,
    Transcription,
    TranscriptionRequest,
)
from backend.providers.mistral import MistralHabits, MistralProvider
from backend.providers.watchdog import Timeouts
from backend.wire.multipart import read_form
from tests.contract.wires import Mistral
from tests.fakes.providers import Answer, Asked, Body, MockUpstream, collect

WIRE = Mistral()
USER = (Message("user", (TextPart("hello"),)),)
STREAM = Answer(WIRE.text("hi") + WIRE.end(), content_type=WIRE.content_type)


def card(model_id: str, *flags: str, **more: Any) -> Mapping[str, Any]:
    return {"id": model_id, "capabilities": dict.fromkeys(flags, True), "max_context_length": 32_768, **more}


CARDS = [
    card("mistral-large-latest", "completion_chat", "function_calling", "vision"),
    card("thinker-7b", "completion_chat", "reasoning", default_model_temperature=0.7),
    card("mistral-embed", "completion_chat"),
    card("codestral-latest", "completion_chat", "completion_fim"),
    card("mistral-ocr", "ocr"),
    card("voxtral-small-latest", "completion_chat", "audio"),
    card("voxtral-mini-2602", "audio_transcription"),
    card("voxtral-mini-tts-2603", "audio_speech"),
    card("old", "completion_chat", archived=True),
]


def refuses(*fields: str) -> Callable[[Asked], Answer]:
    """Refuse each of these body fields, all that are there at once."""

    def respond(asked: Asked) -> Answer:
        found = [field for field in fields if field in asked.body]
        if not found:
            return STREAM
        detail = [{"type": "extra_forbidden", "loc": ["body", field], "msg": "Extra inputs"} for field in found]
        return Answer(json.dumps({"detail": detail}).encode(), 422)

    return respond


def provider_of(up: MockUpstream, *, extended: bool = True) -> MistralProvider:
    return MistralProvider(up.upstream, MistralHabits(extended_sampling=extended), list_timeout=1)


async def chat(provider: MistralProvider, **fields: Any) -> str:
    stream = await provider.open_chat(ChatRequest(**{"model": "m", "messages": USER, **fields}))
    events = await collect(stream)
    await stream.aclose()
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_a_refused_extended_field_is_dropped_retried_and_remembered() -> None:
    up = MockUpstream(refuses("top_k"))
    provider = provider_of(up)
    sampling = Sampling(top_k=40, repeat_penalty=1.2, temperature=0.5)
    assert await chat(provider, sampling=sampling) == "hi"
    assert await chat(provider, sampling=sampling) == "hi"
    assert [("top_k" in asked.body, "repetition_penalty" in asked.body) for asked in up.asked] == [
        (True, True),
        (False, True),
        (False, True),
    ]
    assert all(asked.body["temperature"] == 0.5 for asked in up.asked)


async def test_what_one_model_refuses_another_is_still_sent() -> None:
    up = MockUpstream(refuses("top_k"))
    provider = provider_of(up)
    await chat(provider, model="a", sampling=Sampling(top_k=40))
    await chat(provider, model="b", sampling=Sampling(top_k=40))
    assert "top_k" in up.asked[2].body


async def test_several_refused_fields_are_dropped_together() -> None:
    up = MockUpstream(refuses("top_k", "logprobs", "top_logprobs"))
    assert await chat(provider_of(up), sampling=Sampling(top_k=4), logprobs=True, top_logprobs=2) == "hi"
    assert len(up.asked) == 2


async def test_a_field_that_changes_the_meaning_is_not_dropped() -> None:
    up = MockUpstream(refuses("temperature"))
    with pytest.raises(ProviderRejected):
        await chat(provider_of(up), sampling=Sampling(temperature=0.1))
    assert len(up.asked) == 1


async def test_extended_fields_can_be_switched_off() -> None:
    up = MockUpstream(STREAM)
    await chat(provider_of(up, extended=False), sampling=Sampling(top_k=40, repeat_penalty=1.2), logprobs=True)
    assert up.asked[0].body.keys().isdisjoint({"top_k", "repetition_penalty", "logprobs"})


async def test_a_gap_is_filled_by_its_own_route() -> None:
    up = MockUpstream(STREAM)
    stream = await provider_of(up).open_completion(CompletionRequest("codestral-latest", "def f(", "return 1"))
    events = await collect(stream)
    await stream.aclose()
    asked = up.asked[0]
    assert asked.path == "/v1/fim/completions"
    assert (asked.body["prompt"], asked.body["suffix"]) == ("def f(", "return 1")
    assert isinstance(events[-1], Finished)


def embedder(most: int, longest: int) -> Callable[[Asked], Answer]:
    def respond(asked: Asked) -> Answer:
        texts = asked.body["input"]
        if len(texts) > most or any(len(text) > longest for text in texts):
            return Answer(b'{"object":"error","message":"Too many inputs","type":"x","code":"3210"}', 400)
        data = [{"embedding": [float(len(text))], "index": i} for i, text in enumerate(texts)]
        return Answer(json.dumps({"data": data[::-1], "usage": {"prompt_tokens": len(texts)}}).encode())

    return respond


async def test_embeddings_that_are_too_many_are_halved_and_stay_in_order() -> None:
    up = MockUpstream(embedder(most=3, longest=10**6))
    texts = tuple("x" * length for length in range(1, 11))
    done = await provider_of(up).embed(EmbedRequest("mistral-embed", texts))
    assert done.vectors == [[float(length)] for length in range(1, 11)]
    assert done.prompt_tokens == 10


async def test_a_single_long_text_is_cut_until_it_fits() -> None:
    up = MockUpstream(embedder(most=3, longest=500))
    done = await provider_of(up).embed(EmbedRequest("mistral-embed", ("x" * 3_000,)))
    assert 300 < done.vectors[0][0] <= 500


async def test_a_long_text_that_may_not_be_cut_is_refused() -> None:
    up = MockUpstream(embedder(most=3, longest=500))
    with pytest.raises(ContextTooLong):
        await provider_of(up).embed(EmbedRequest("mistral-embed", ("x" * 3_000,), truncate=False))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"data":[]}', b'{"data":[{"embedding":["a"]}]}', b'{"data":[{"embedding":[null]}]}',
     pytest.param(b'{"data":[{"embedding":[1]}],"x":' + b"[" * 40_000 + b"]" * 40_000 + b"}", id="nested")],
)  # fmt: skip
async def test_unreadable_embeddings_are_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        await provider_of(MockUpstream(Answer(body))).embed(EmbedRequest("m", ("a",)))


async def test_models_are_listed_with_what_they_can_do() -> None:
    up = MockUpstream(Answer(json.dumps({"data": CARDS}).encode()))
    models = {model.model_id: model for model in await provider_of(up).list_models()}
    assert list(models) == [
        "mistral-large-latest",
        "thinker-7b",
        "mistral-embed",
        "codestral-latest",
        "voxtral-small-latest",
        "voxtral-mini-2602",
    ]
    assert models["voxtral-small-latest"].capabilities == {Capability.COMPLETION, Capability.AUDIO}
    assert models["voxtral-mini-2602"].capabilities == {Capability.AUDIO}
    assert models["mistral-embed"].capabilities == {Capability.EMBEDDING}
    assert models["mistral-embed"].family == "mistral"
    assert Capability.INSERT in models["codestral-latest"].capabilities
    assert models["thinker-7b"].default_temperature == 0.7
    assert models["thinker-7b"].parameter_size == "7B"
    assert all(model.is_listed for model in models.values())


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":5}', b'{"data":[5]}', b"[" * 50_000])
async def test_an_unreadable_list_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        await provider_of(MockUpstream(Answer(body))).list_models()


def listed(asked: Asked) -> Answer:
    return Answer(json.dumps({"data": CARDS}).encode()) if asked.path == "/v1/models" else STREAM


async def test_the_list_says_who_reasons() -> None:
    up = MockUpstream(listed)
    provider = provider_of(up)
    await provider.list_models()
    await chat(provider, model="thinker-7b", thinking=True)
    assert up.asked[-1].body["reasoning_effort"] == "high"
    with pytest.raises(UnsupportedFeature, match='"magistral-small-latest" does not support thinking'):
        await chat(provider, model="magistral-small-latest", thinking=True)


async def test_before_the_list_was_read_the_name_says_who_reasons() -> None:
    up = MockUpstream(STREAM)
    assert await chat(provider_of(up), model="magistral-small-latest", thinking=True) == "hi"
    with pytest.raises(UnsupportedFeature):
        await chat(provider_of(up), model="mistral-large-2411", thinking="high")


async def test_reasoning_nobody_asked_to_see_is_not_shown() -> None:
    up = MockUpstream(Answer(WIRE.thinking("hm") + WIRE.text("hi") + WIRE.end(), content_type=WIRE.content_type))
    for thinking, shown in ((None, 1), (True, 1), (False, 0)):
        stream = await provider_of(up).open_chat(ChatRequest("magistral-small", USER, thinking=thinking))
        assert len([e for e in await collect(stream) if isinstance(e, ThinkingDelta)]) == shown
        await stream.aclose()


async def test_a_prefix_the_caller_wrote_is_not_repeated_to_them() -> None:
    up = MockUpstream(
        Answer(WIRE.text("Once upon") + WIRE.text(" a time") + WIRE.end(), content_type=WIRE.content_type)
    )
    messages = (*USER, Message("assistant", (TextPart("Once"),)))
    assert await chat(provider_of(up), messages=messages) == " upon a time"
    assert up.asked[0].body["messages"][-1]["prefix"] is True


async def test_speech_is_sent_as_a_form() -> None:
    up = MockUpstream(Answer(b'{"text":"Salut.","language":"fr"}'))
    request = TranscriptionRequest("voxtral-mini-2602", b"\x00RIFF", "audio.wav", "audio/wav", language="fr")
    assert await provider_of(up).transcribe(request) == Transcription("Salut.", "fr")
    asked = up.asked[0]
    assert (asked.method, asked.path) == ("POST", "/v1/audio/transcriptions")
    assert asked.headers["authorization"] == "Bearer up-key"
    parts = {part.name: part for part in read_form(asked.headers["content-type"], asked.raw)}
    assert {name: part.data for name, part in parts.items()} == {
        "model": b"voxtral-mini-2602",
        "language": b"fr",
        "file": b"\x00RIFF",
    }
    assert parts["file"].filename == "audio.wav"


async def test_a_slow_transcription_is_not_cut_by_the_limit_of_a_streams_first_byte() -> None:
    body = Body(b'{"text":', b'"x"}', pause=0.05)
    up = MockUpstream(Answer(body), timeouts=Timeouts(first_byte=0.01, idle=0.01, total=5))
    request = TranscriptionRequest("voxtral-mini-2602", b"RIFF", "audio.wav", "audio/wav")
    assert (await provider_of(up).transcribe(request)).text == "x"


async def test_a_refused_recording_is_the_callers_mistake() -> None:
    up = MockUpstream(Answer(b'{"message":"Audio could not be decoded","code":"3310"}', 400))
    with pytest.raises(ProviderRejected, match="Audio could not be decoded"):
        await provider_of(up).transcribe(TranscriptionRequest("m", b"x", "audio", "application/octet-stream"))
