"""A server that sorts passages: asked once, believed only when every passage has a score."""

import json

import pytest

from backend.llm.errors import ProviderError, ProviderProtocolError
from backend.providers.rerank import HttpReranker
from tests.fakes.providers import Answer, MockUpstream


def reply(*pairs: tuple[int, float]) -> Answer:
    return Answer(json.dumps({"results": [{"index": i, "relevance_score": s} for i, s in pairs]}).encode())


async def test_scores_come_back_in_the_order_of_the_texts() -> None:
    mock = MockUpstream(reply((1, 0.9), (0, 0.1)))
    assert await HttpReranker(mock.upstream, "bge").rerank("q", ["a", "b" * 9_000]) == [0.1, 0.9]
    [asked] = mock.asked
    assert asked.path == "/v1/rerank"
    assert asked.body == {"model": "bge", "query": "q", "documents": ["a", "b" * 4_000], "top_n": 2}


@pytest.mark.parametrize(
    "told",
    [reply((0, 1.0)), reply((0, 1.0), (2, 1.0)), reply((-1, 1.0), (0, 1.0)), Answer(b"{}"), Answer(b"no JSON")],
)
async def test_a_reply_that_is_not_whole_is_an_error(told: Answer) -> None:
    with pytest.raises(ProviderProtocolError, match="cannot be read"):
        await HttpReranker(MockUpstream(told).upstream, "bge").rerank("q", ["a", "b"])


async def test_a_server_that_fails_is_an_error() -> None:
    with pytest.raises(ProviderError):
        await HttpReranker(MockUpstream(Answer(b"{}", 500)).upstream, "bge").rerank("q", ["a"])
