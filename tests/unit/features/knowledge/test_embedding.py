"""Vectors of texts: batches, patience, and what an upstream may not send."""

import asyncio
import math
from collections.abc import Sequence

import numpy as np
import pytest

from backend.core.errors import GatewayError
from backend.features.catalog.service import CatalogModel
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.service import GenerationService
from backend.features.knowledge.embedding import QUERY_SECONDS, CatalogEmbedder, make_fingerprint
from backend.features.knowledge.embedding_models import about, rank
from backend.llm.errors import (
    ContextTooLong,
    ProviderAuthFailed,
    ProviderError,
    ProviderProtocolError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from tests.fakes.knowledge import VectorProvider
from tests.fakes.providers import HANG, ScriptedProvider, backend_of, info, model_of

GENERATION = GenerationService(Admission(AdmissionLimits()))


def model(provider: object, name: str = "mistral-embed") -> CatalogModel:
    return model_of(backend_of(provider, failures=100), known=info(name))


def embedder(provider: object, name: str = "mistral-embed") -> CatalogEmbedder:
    return CatalogEmbedder(model(provider, name), GENERATION)


def asked(provider: VectorProvider) -> list[int]:
    """Return how many texts each call held, without the one that asks for the dimensions."""
    return [len(texts) for texts in provider.asked[1:]]


def length(vector: bytes) -> float:
    return float(np.linalg.norm(np.frombuffer(vector, dtype="<f4")))


async def test_vectors_come_in_the_order_of_the_texts_at_length_one() -> None:
    provider = VectorProvider()
    texts = [f"text {number}" for number in range(150)]
    vectors = await embedder(provider).embed(texts, "document")
    assert len(vectors) == 150
    assert all(length(vector) == pytest.approx(1.0, abs=1e-5) for vector in vectors)
    expected = np.array(provider.vector(texts[99]))
    assert np.frombuffer(vectors[99], dtype="<f4") @ expected / np.linalg.norm(expected) == pytest.approx(1.0, abs=1e-5)


async def test_a_batch_holds_at_most_64_texts_and_8000_tokens() -> None:
    provider = VectorProvider()
    await embedder(provider).embed(["short"] * 130, "document")
    assert asked(provider) == [64, 64, 2]
    provider.asked.clear()
    await embedder(provider).embed(["x" * 9_000] * 5, "document")
    assert asked(provider) == [2, 2, 1]


@pytest.mark.parametrize(
    "refusal", [ContextTooLong("too long"), ProviderRejected("Too many tokens in batch", code="3210")]
)
async def test_what_is_too_much_is_halved(refusal: ProviderError) -> None:
    provider = VectorProvider(most=2, refusal=refusal)
    vectors = await embedder(provider).embed([f"text {number}" for number in range(8)], "document")
    assert asked(provider) == [8, 4, 2, 2, 4, 2, 2]
    assert len(set(vectors)) == 8


async def test_a_text_that_is_too_long_is_cut() -> None:
    provider = VectorProvider(failures=[None, ContextTooLong("too long")])
    [vector] = await embedder(provider).embed(["word " * 100], "document")
    assert [len(texts[0]) for texts in provider.asked[1:]] == [500, 333]
    assert length(vector) == pytest.approx(1.0, abs=1e-5)


async def test_another_refusal_is_not_halved() -> None:
    provider = VectorProvider(failures=[None, ProviderRejected("no such option")])
    with pytest.raises(ProviderRejected, match="no such option"):
        await embedder(provider).embed(["a", "b"], "document")
    assert asked(provider) == [2]


async def test_an_upstream_that_is_busy_is_asked_again_later() -> None:
    busy: list[BaseException | None] = [ProviderUnavailable("busy") for _ in range(4)]
    provider = VectorProvider(failures=[None, *busy])
    assert len(await embedder(provider).embed(["a"], "document")) == 1


async def test_patience_ends() -> None:
    provider = VectorProvider(failures=[None, *[ProviderUnavailable("busy") for _ in range(50)]])
    with pytest.raises(ProviderUnavailable):
        await embedder(provider).embed(["a"], "document")
    assert len(asked(provider)) < 10


async def test_a_refused_key_is_not_tried_again() -> None:
    provider = VectorProvider(failures=[None, ProviderAuthFailed("no")])
    with pytest.raises(ProviderAuthFailed):
        await embedder(provider).embed(["a"], "document")
    assert asked(provider) == [1]


@pytest.mark.parametrize(
    "sent", [[[math.nan, 1.0]], [[math.inf, 1.0]], [[0.0, 0.0]], [[]], [[0.1] * 9000], [[1.0], [1.0]], []]
)
async def test_vectors_that_cannot_be_compared_are_refused(sent: Sequence[Sequence[float]]) -> None:
    with pytest.raises(ProviderProtocolError):
        await embedder(VectorProvider(given=sent)).embed(["a"], "document")


async def test_vectors_of_another_length_are_refused_and_the_embedder_is_then_another() -> None:
    provider = VectorProvider(dimensions=32)
    ours = embedder(provider)
    before = await ours.fingerprint()
    provider.dimensions = 48
    with pytest.raises(ProviderProtocolError, match="made 48 numbers, not 32"):
        await ours.embed(["a"], "document")
    after = await ours.fingerprint()
    assert after.dimensions == 48
    assert after.value != before.value


async def test_a_question_is_asked_once() -> None:
    provider = VectorProvider()
    ours = embedder(provider)
    first = await ours.embed(["where?"], "query")
    assert await ours.embed(["where?"], "query") == first
    assert asked(provider) == [1]


async def test_a_question_waits_three_seconds_at_most() -> None:
    provider = ScriptedProvider()
    provider.vectors = HANG
    started = asyncio.get_running_loop().time()
    with pytest.raises(ProviderTimeout):
        await embedder(provider).embed(["where?"], "query")
    assert asyncio.get_running_loop().time() - started == pytest.approx(QUERY_SECONDS, abs=0.1)


async def test_a_question_is_not_asked_patiently() -> None:
    provider = VectorProvider(failures=[None, ProviderAuthFailed("no")])
    with pytest.raises(GatewayError):
        await embedder(provider).embed(["where?"], "query")
    assert asked(provider) == [1]


async def test_models_get_the_words_they_want_before_a_text() -> None:
    provider = VectorProvider()
    ours = embedder(provider, "nomic-embed-text:latest")
    await ours.embed(["a"], "document")
    await ours.embed(["b"], "query")
    assert [tuple(texts) for texts in provider.asked[1:]] == [("search_document: a",), ("search_query: b",)]


def test_a_fingerprint_tells_embedders_apart_and_is_fit_for_a_name() -> None:
    prints = {
        make_fingerprint(*told).value
        for told in (("ollama", "bge-m3", 1024), ("vllm", "bge-m3", 1024), ("ollama", "bge-m3", 512))
    }
    assert len(prints) == 3
    assert all(len(value) == 16 and value.isalnum() for value in prints)


def test_models_of_many_languages_are_preferred_and_trusted_more() -> None:
    ranks = [rank(name) for name in ("bge-m3:latest", "nomic-embed-text-v2-moe", "nomic-embed-text", "all-minilm")]
    assert ranks == sorted(ranks, key=lambda place: -1 if place is None else place)
    weights = [about(name).dense_weight for name in ("bge-m3:latest", "something-new", "nomic-embed-text")]
    assert 1 > weights[0] > weights[1] > weights[2] > 0
    assert rank("mistral-small") is None
    assert about("mistral-small").scheme == "\n"
