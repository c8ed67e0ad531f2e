"""The demo, what names tell, and batches of texts."""

import pytest

from backend.llm.capabilities import Capability
from backend.llm.errors import ContextTooLong, ProviderRejected
from backend.llm.events import Finished, Started, TextDelta
from backend.llm.types import ChatRequest, Embeddings, EmbedRequest, Message, TextPart
from backend.providers.batches import BatchLimits, Send, embed_in_batches
from backend.providers.demo import MODEL, TEXT, DemoProvider
from backend.providers.profiles import find_profile, parameter_size, quantization
from backend.wire.openai.reasoning import ReasoningStyle
from tests.fakes.providers import collect

LIMITS = BatchLimits(texts=4, tokens=1_000)


class TestDemo:
    """It says what it is, and how to replace it."""

    async def test_it_streams_its_text_word_by_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("backend.providers.demo._PAUSE_SECONDS", 0)
        stream = await DemoProvider().open_chat(ChatRequest(MODEL, (Message("user", (TextPart("two words"),)),)))
        events = await collect(stream)
        await stream.aclose()
        assert isinstance(events[0], Started)
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == TEXT
        assert isinstance(events[-1], Finished)
        assert events[-1].usage.prompt_tokens == 2
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    async def test_it_lists_one_model_that_can_only_talk(self) -> None:
        [model] = await DemoProvider().list_models()
        assert (model.model_id, model.capabilities) == (MODEL, {Capability.COMPLETION})

    def test_its_text_names_the_settings_that_matter(self) -> None:
        for name in ("MISTRAL_API_KEY", "OLLAMA_BASE_URLS", "VLLM_BASE_URLS", "OPENAI_BASE_URL"):
            assert name in TEXT


@pytest.mark.parametrize(
    ("model", "family", "some"),
    [
        ("Qwen/Qwen3-8B", "qwen3", {Capability.THINKING}),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen", {Capability.INSERT}),
        ("Qwen/Qwen2.5-VL-7B", "qwen", {Capability.VISION}),
        ("Qwen/Qwen2.5-7B", "qwen2", {Capability.TOOLS}),
        ("codestral-latest", "mistral", {Capability.INSERT}),
        ("mistralai/Magistral-Small-2509", "mistral", {Capability.THINKING}),
        ("mistral-large-2411", "mistral", {Capability.TOOLS}),
        ("pixtral-12b", "mistral", {Capability.VISION}),
        ("openai/gpt-oss-20b", "gptoss", {Capability.THINKING}),
        ("gpt-5-mini", "gpt", {Capability.THINKING, Capability.VISION}),
        ("gpt-4o", "gpt", {Capability.VISION}),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama", {Capability.TOOLS}),
        ("meta-llama/Llama-3.2-11B-Vision", "llama", {Capability.VISION}),
        ("deepseek-ai/DeepSeek-R1", "deepseek", {Capability.THINKING}),
        ("deepseek-coder-6.7b", "deepseek2", {Capability.INSERT}),
        ("zai-org/GLM-4.5-Air", "glm", {Capability.THINKING}),
        ("google/gemma-3-4b-it", "gemma3", {Capability.VISION}),
        ("bigcode/starcoder2-3b", "starcoder", {Capability.INSERT}),
        ("BAAI/bge-m3", "bert", {Capability.EMBEDDING}),
        ("text-embedding-3-small", "bert", {Capability.EMBEDDING}),
        ("something-new", "unknown", {Capability.TOOLS}),
    ],
)
def test_a_name_tells_the_family_and_what_it_can_do(model: str, family: str, some: set[Capability]) -> None:
    profile = find_profile(model)
    assert profile.family == family
    assert some <= set(profile.capabilities)
    if Capability.EMBEDDING in some:
        assert Capability.COMPLETION not in profile.capabilities


def test_each_family_reasons_its_own_way() -> None:
    assert find_profile("qwen3-8b").reasoning is ReasoningStyle.TEMPLATE
    assert find_profile("gpt-oss-120b").reasoning is ReasoningStyle.EFFORT
    assert find_profile("magistral-small").reasoning is ReasoningStyle.MISTRAL
    assert find_profile("llama-3").reasoning is ReasoningStyle.NONE


@pytest.mark.parametrize(
    ("model", "size", "level"),
    [
        ("Llama-3.1-8B-Instruct", "8B", ""),
        ("mixtral-8x7b-awq", "8x7B", "AWQ"),
        ("qwen2.5:0.5b-instruct-q4_k_m", "0.5B", "Q4_K_M"),
        ("model-fp8", "", "FP8"),
        ("mistral-large", "", ""),
        ("b8b8", "", ""),
    ],
)
def test_a_name_tells_size_and_quantization(model: str, size: str, level: str) -> None:
    assert (parameter_size(model), quantization(model)) == (size, level)


class Embedder:
    """Takes batches up to a size and texts up to a length."""

    def __init__(self, *, most: int = 99, longest: int = 10**6, code: str = "3210") -> None:
        self.calls: list[tuple[str, ...]] = []
        self._most, self._longest, self._code = most, longest, code

    async def send(self, request: EmbedRequest) -> Embeddings:
        self.calls.append(request.inputs)
        assert request.source is None
        if len(request.inputs) > self._most or any(len(text) > self._longest for text in request.inputs):
            raise ProviderRejected("too much", code=self._code)
        return Embeddings([[float(text.rstrip("x") or 0)] for text in request.inputs], len(request.inputs))


async def embed(texts: tuple[str, ...], send: Send, *, truncate: bool = True) -> Embeddings:
    request = EmbedRequest("m", texts, truncate=truncate)
    return await embed_in_batches(request, send, LIMITS, too_much=lambda error: error.code == "3210")


TEXTS = tuple(str(number) for number in range(10))


class TestBatches:
    """Many texts, few calls, one order."""

    async def test_texts_are_sent_in_the_batches_the_upstream_takes(self) -> None:
        up = Embedder()
        done = await embed(TEXTS, up.send)
        assert [len(call) for call in up.calls] == [4, 4, 2]
        assert done.vectors == [[float(number)] for number in range(10)]
        assert done.prompt_tokens == 10

    async def test_long_texts_make_smaller_batches(self) -> None:
        up = Embedder()
        await embed(("1" + "x" * 2_000, "2" + "x" * 2_000, "3"), up.send)
        assert [len(call) for call in up.calls] == [1, 2]

    async def test_a_batch_that_is_too_much_is_halved_and_stays_in_order(self) -> None:
        up = Embedder(most=1)
        assert (await embed(TEXTS, up.send)).vectors == [[float(number)] for number in range(10)]

    async def test_one_text_that_is_too_long_is_cut(self) -> None:
        up = Embedder(longest=200)
        assert (await embed(("7" + "x" * 900,), up.send)).vectors == [[7.0]]
        assert len(up.calls[-1][0]) <= 200

    async def test_a_text_that_may_not_be_cut_is_refused_in_ollamas_words(self) -> None:
        with pytest.raises(ContextTooLong, match="the input length exceeds the context length"):
            await embed(("7" + "x" * 900,), Embedder(longest=200).send, truncate=False)

    async def test_a_short_text_is_not_cut_for_ever(self) -> None:
        up = Embedder(longest=0)
        with pytest.raises(ProviderRejected, match="too much"):
            await embed(("7" * 500,), up.send)
        assert len(up.calls) < 12

    async def test_another_refusal_is_passed_on_at_once(self) -> None:
        up = Embedder(most=0, code="9")
        with pytest.raises(ProviderRejected):
            await embed(TEXTS, up.send)
        assert len(up.calls) == 1

    async def test_nothing_needs_no_call(self) -> None:
        up = Embedder()
        assert (await embed((), up.send)).vectors == []
        assert up.calls == []
