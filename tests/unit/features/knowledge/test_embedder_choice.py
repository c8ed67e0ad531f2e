"""Which embedder is taken, and what is said when there is none."""

import pytest

from backend.features.catalog.backends import Backend
from backend.features.catalog.service import CatalogService
from backend.features.knowledge.embedder_choice import Choice, EmbedderChoice, EmbedderKind
from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderUnreachable
from tests.fakes.providers import ScriptedProvider, backend_of, info

EMBEDS = Capability.EMBEDDING


def mistral(*names: str) -> Backend:
    return backend_of(ScriptedProvider(models=[info(name) for name in names or ("mistral-embed",)]), "m", "mistral")


def ollama(*names: str) -> Backend:
    return backend_of(ScriptedProvider(models=[info(name, EMBEDS) for name in names]), "o", "ollama")


def other(*names: str) -> Backend:
    return backend_of(ScriptedProvider(models=[info(name, EMBEDS) for name in names]), "v", "vllm")


async def choose(
    *backends: Backend, wanted: EmbedderKind = "auto", named: str = "", current: tuple[str, str] | None = None
) -> Choice:
    return await EmbedderChoice(CatalogService(backends, 30), wanted, named).choose(current)


async def test_auto_takes_mistral_then_ollama_then_others() -> None:
    known = other("text-embedding-3-small"), ollama("bge-m3"), mistral()
    assert (await choose(*known)).name == "mistral-embed"
    assert (await choose(*known[:2])).name == "bge-m3"
    assert (await choose(*known[:1])).name == "text-embedding-3-small"


async def test_of_pulled_models_one_of_many_languages_is_preferred() -> None:
    assert (
        await choose(ollama("all-minilm:latest", "nomic-embed-text:latest", "bge-m3:latest"))
    ).name == "bge-m3:latest"


async def test_without_any_it_is_keyword_mode_and_says_what_to_do() -> None:
    choice = await choose(backend_of(ScriptedProvider(models=[info("llama3.2", Capability.COMPLETION)]), "o", "ollama"))
    assert choice.model is None
    assert "MISTRAL_API_KEY" in choice.reason


async def test_auto_stays_with_what_made_the_vectors() -> None:
    backends = mistral(), ollama("bge-m3", "nomic-embed-text")
    assert (await choose(*backends, current=("ollama", "nomic-embed-text"))).name == "nomic-embed-text"
    assert (await choose(*backends, current=("ollama", "gone"))).name == "mistral-embed"


async def test_auto_waits_for_the_backend_that_made_the_vectors() -> None:
    away = ScriptedProvider()
    away.models = ProviderUnreachable("away")
    choice = await choose(mistral(), backend_of(away, "o", "ollama"), current=("ollama", "bge-m3"))
    assert choice.model is None
    assert "waits for backend 'o'" in choice.reason


@pytest.mark.parametrize(
    ("wanted", "expected"), [("mistral", "mistral-embed"), ("ollama", "bge-m3"), ("openai", "text-embedding-3-small")]
)
async def test_the_settings_word_counts(wanted: EmbedderKind, expected: str) -> None:
    backends = mistral(), ollama("bge-m3"), other("text-embedding-3-small")
    assert (await choose(*backends, wanted=wanted, current=("vllm", "x"))).name == expected


async def test_none_asks_nobody() -> None:
    provider = ScriptedProvider(models=[info("mistral-embed")])
    choice = await choose(backend_of(provider, "m", "mistral"), wanted="none")
    assert choice.model is None
    assert provider.listings == 0


@pytest.mark.parametrize("wanted", ["mistral", "ollama", "openai"])
async def test_a_wanted_kind_that_is_missing_is_not_replaced(wanted: EmbedderKind) -> None:
    backends = {"mistral": ollama("bge-m3"), "ollama": mistral(), "openai": mistral()}
    choice = await choose(backends[wanted], wanted=wanted)
    assert choice.model is None
    assert "GATEWAY_KNOWLEDGE__EMBED" in choice.reason


async def test_a_named_model_is_taken_though_nobody_knows_it() -> None:
    assert (await choose(mistral(), ollama("house-embedder"), named="house-embedder")).name == "house-embedder"


async def test_a_named_model_must_be_there_fit_and_of_the_wanted_kind() -> None:
    chat = backend_of(ScriptedProvider(models=[info("llama3.2", Capability.COMPLETION)]), "o", "ollama")
    assert "not found" in (await choose(mistral(), named="absent")).reason
    assert "makes no embeddings" in (await choose(chat, named="llama3.2")).reason
    assert "not by mistral" in (await choose(ollama("bge-m3"), named="bge-m3", wanted="mistral")).reason


async def test_the_demo_is_no_embedder() -> None:
    demo = backend_of(ScriptedProvider(models=[info("bge-m3", EMBEDS)]), "demo", "demo")
    assert (await choose(demo)).model is None
