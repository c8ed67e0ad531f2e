"""vLLM and the other servers that speak chat completions."""

import json
from typing import Any

import pytest

from backend.llm.capabilities import Capability
from backend.llm.errors import ContextTooLong, ProviderProtocolError, ProviderRejected, UnsupportedFeature
from backend.llm.events import TextDelta, ThinkingDelta
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
from backend.providers.openai_compatible import ModelFacts, OpenAICompatibleProvider
from backend.wire.multipart import read_form
from backend.wire.openai.options import Dialect
from tests.contract.wires import Compatible
from tests.fakes.providers import Answer, Asked, MockUpstream, collect

WIRE = Compatible(Dialect.VLLM)
USER = (Message("user", (TextPart("hello"),)),)
STREAM = Answer(WIRE.text("hi") + WIRE.end(), content_type=WIRE.content_type)
NO_FACTS = ModelFacts()


def provider_of(
    up: MockUpstream, dialect: Dialect = Dialect.VLLM, facts: ModelFacts = NO_FACTS
) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(up.upstream, dialect, facts, list_timeout=1)


def cards(*entries: dict[str, Any]) -> Answer:
    return Answer(json.dumps({"object": "list", "data": entries}).encode())


async def test_models_are_described_by_their_names_and_cards() -> None:
    up = MockUpstream(
        cards(
            {"id": "Qwen/Qwen3-8B-AWQ", "max_model_len": 40_960},
            {"id": "llama-3.1-8b-q4_k_m", "meta": {"n_ctx_train": 8192, "n_embd": 4096, "n_params": 8, "size": 5}},
            {"id": "Qwen/Qwen3-8B-AWQ"},
            {"no": "id"},
        )
    )
    qwen, llama = await provider_of(up).list_models()
    assert (qwen.context_length, qwen.parameter_size, qwen.quantization) == (40_960, "8B", "AWQ")
    assert Capability.THINKING in qwen.capabilities
    assert not qwen.is_listed
    assert (llama.context_length, llama.embedding_length, llama.parameter_count, llama.size_bytes) == (8192, 4096, 8, 5)


async def test_what_the_operator_states_counts_before_names() -> None:
    facts = ModelFacts(frozenset({Capability.VISION}), 1234)
    up = MockUpstream(cards({"id": "Qwen/Qwen3-8B", "max_model_len": 40_960}))
    [model] = await provider_of(up, facts=facts).list_models()
    assert (model.capabilities, model.context_length) == ({Capability.VISION}, 1234)


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_a_gap_is_filled_with_the_familys_marks(dialect: Dialect) -> None:
    up = MockUpstream(STREAM)
    stream = await provider_of(up, dialect).open_completion(CompletionRequest("qwen2.5-coder", "a = ", "\nb = 2"))
    await collect(stream)
    await stream.aclose()
    assert up.asked[0].path == "/v1/completions"
    assert up.asked[0].body["prompt"] == "<|fim_prefix|>a = <|fim_suffix|>\nb = 2<|fim_middle|>"


async def test_a_family_without_marks_cannot_fill_gaps() -> None:
    up = MockUpstream(STREAM)
    with pytest.raises(UnsupportedFeature, match='"llama-3" does not support insert'):
        await provider_of(up).open_completion(CompletionRequest("llama-3", "a", "b"))
    assert up.asked == []


async def test_raw_text_is_continued_without_marks_and_not_after_sixteen_tokens() -> None:
    up = MockUpstream(STREAM)
    stream = await provider_of(up).open_completion(CompletionRequest("llama-3", "raw"))
    await stream.aclose()
    assert up.asked[0].body["prompt"] == "raw"
    assert up.asked[0].body["max_tokens"] > 16


@pytest.mark.parametrize(("thinking", "shown"), [(None, True), (True, True), (False, False)])
async def test_think_tags_become_thinking_or_nothing(thinking: bool | None, shown: bool) -> None:
    pieces = WIRE.text("<thi") + WIRE.text("nk>hm</think>\n\n") + WIRE.text("42") + WIRE.end()
    up = MockUpstream(Answer(pieces, content_type=WIRE.content_type))
    stream = await provider_of(up).open_chat(ChatRequest("qwen3", USER, thinking=thinking))
    events = await collect(stream)
    await stream.aclose()
    assert "".join(e.text for e in events if isinstance(e, ThinkingDelta)) == ("hm" if shown else "")
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "42"


@pytest.mark.parametrize("model", ["gpt-4o", "o3-mini", "gpt-5"])
async def test_openais_reasoning_models_are_not_sent_what_they_refuse(model: str) -> None:
    up = MockUpstream(STREAM)
    request = ChatRequest(model, USER, sampling=Sampling(temperature=0.5, stop=("x",), max_tokens=5))
    await (await provider_of(up, Dialect.OPENAI).open_chat(request)).aclose()
    body = up.asked[0].body
    assert ("temperature" in body) is (model == "gpt-4o")
    assert ("stop" in body) is (model != "o3-mini")
    assert body["max_completion_tokens"] == 5


async def test_embeddings_keep_their_order_and_pass_the_dimension_on() -> None:
    def respond(asked: Asked) -> Answer:
        data = [{"embedding": [1.0, float(text)], "index": i} for i, text in enumerate(asked.body["input"])]
        return Answer(json.dumps({"data": data[::-1], "usage": None}).encode())

    up = MockUpstream(respond)
    texts = tuple(str(number) for number in range(300))
    done = await provider_of(up).embed(EmbedRequest("bge-m3", texts, dimensions=2))
    assert [vector[1] for vector in done.vectors] == [float(number) for number in range(300)]
    assert [len(asked.body["input"]) for asked in up.asked] == [128, 128, 44]
    assert up.asked[0].body["dimensions"] == 2


async def test_a_text_over_the_context_is_cut_and_other_refusals_are_passed_on() -> None:
    def respond(asked: Asked) -> Answer:
        if len(asked.body["input"][0]) > 200:
            return Answer(b'{"message":"This model\'s maximum context length is 50 tokens"}', 400)
        return Answer(b'{"data":[{"embedding":[1.0]}]}')

    up = MockUpstream(respond)
    assert (await provider_of(up).embed(EmbedRequest("bge-m3", ("x" * 900,)))).vectors == [[1.0]]
    with pytest.raises(ContextTooLong):
        await provider_of(up).embed(EmbedRequest("bge-m3", ("x" * 900,), truncate=False))
    refusing = MockUpstream(Answer(b'{"message":"no"}', 400))
    with pytest.raises(ProviderRejected):
        await provider_of(refusing).embed(EmbedRequest("bge-m3", ("a", "b")))
    assert len(refusing.asked) == 1


async def test_an_embedding_too_few_is_an_error() -> None:
    up = MockUpstream(Answer(b'{"data":[{"embedding":[1.0]}]}'))
    with pytest.raises(ProviderProtocolError):
        await provider_of(up).embed(EmbedRequest("bge-m3", ("a", "b")))


@pytest.mark.parametrize("number", ["1e308", "-5", "1" + "0" * 400, "true", '"x"', "null"])
async def test_timings_that_cannot_be_do_not_break_an_answer(number: str) -> None:
    last = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"timings":{"prompt_ms":%s,"predicted_ms":%s}}\n\n'
    end = last % (number.encode(), number.encode())
    up = MockUpstream(Answer(WIRE.text("hi") + end + b"data: [DONE]\n\n", content_type=WIRE.content_type))
    stream = await provider_of(up, Dialect.LLAMACPP).open_chat(ChatRequest("m", USER))
    assert TextDelta("hi") in await collect(stream)
    await stream.aclose()


async def test_speech_is_sent_as_a_form() -> None:
    up = MockUpstream(Answer(b'{"text":"hi","duration":"1.5"}'))
    request = TranscriptionRequest("whisper", b"\x00RIFF", "audio.wav", "audio/wav", prompt="Zoe", with_segments=True)
    assert await provider_of(up).transcribe(request) == Transcription("hi", seconds=1.5)
    asked = up.asked[0]
    assert (asked.method, asked.path) == ("POST", "/v1/audio/transcriptions")
    fields = {part.name: part.data for part in read_form(asked.headers["content-type"], asked.raw)}
    assert (fields["model"], fields["file"], fields["response_format"]) == (b"whisper", b"\x00RIFF", b"verbose_json")


async def test_a_server_that_cannot_hear_says_so() -> None:
    up = MockUpstream(Answer(b'{"detail":"Not Found"}', 404))
    with pytest.raises(UnsupportedFeature, match="'up' cannot transcribe audio with this model; choose a speech model"):
        await provider_of(up).transcribe(TranscriptionRequest("qwen3", b"x", "audio", "application/octet-stream"))


@pytest.mark.parametrize(
    ("model_id", "capabilities"),
    [
        ("openai/whisper-large-v3", {Capability.AUDIO}),
        ("gpt-4o-transcribe", {Capability.AUDIO}),
        ("mistralai/Voxtral-Mini-3B-2507", {Capability.AUDIO, Capability.COMPLETION, Capability.TOOLS}),
    ],
)
async def test_a_speech_model_is_known_by_its_name(model_id: str, capabilities: set[Capability]) -> None:
    up = MockUpstream(Answer(json.dumps({"data": [{"id": model_id}]}).encode()))
    assert [model.capabilities for model in await provider_of(up).list_models()] == [capabilities]
