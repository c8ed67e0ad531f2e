"""Bodies that are sent on while they come in: who stalls is told, addresses are not kept for ever."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from backend.core.errors import InvalidRequest
from backend.llm.errors import ProviderTimeout
from backend.providers.http import Endpoint, Limits, Upstream
from backend.providers.upload import Upload
from backend.providers.watchdog import Timeouts
from tests.fakes.providers import HANG, Answer, Body, MockUpstream, hang

QUICK = Timeouts(1, 0.05, 0.05, 5)


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def dribble(count: int, pause: float) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(pause)
        yield b"x"


async def stalling() -> AsyncIterator[bytes]:
    yield b"x"
    await hang()


async def test_a_body_is_chunked_and_not_said_to_be_json() -> None:
    up = MockUpstream(Answer(status=201))
    await up.upstream.upload("/api/blobs/x", pieces_of(b"ab", b"c"))
    [asked] = up.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/api/blobs/x", b"abc")
    assert asked.headers["content-type"] == "application/octet-stream"
    assert "content-length" not in asked.headers


async def test_a_slow_sender_that_moves_may_take_its_time() -> None:
    up = MockUpstream(Answer(status=201), timeouts=QUICK)
    await up.upstream.upload("/x", dribble(12, 0.01))
    assert up.asked[0].body == b"x" * 12


async def test_a_sender_that_stalls_is_told_so() -> None:
    up = MockUpstream(Answer(status=201), timeouts=QUICK)
    with pytest.raises(InvalidRequest, match=r"the upload stalled for more than 0\.05 s"):
        await up.upstream.upload("/x", stalling())


@pytest.mark.parametrize("answer", [HANG, Answer(Body(HANG), 201)])
async def test_an_upstream_that_stalls_is_named(answer: Answer) -> None:
    up = MockUpstream(answer, timeouts=QUICK)
    with pytest.raises(ProviderTimeout, match="backend 'up' stalled"):
        await up.upstream.upload("/x", pieces_of(b"x"))


async def test_a_caller_who_is_cancelled_stays_cancelled() -> None:
    up = MockUpstream(Answer(status=201))
    task = asyncio.create_task(up.upstream.upload("/x", stalling()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_next_piece_is_not_asked_for_before_it_is_wanted() -> None:
    given: list[int] = []

    async def count() -> AsyncIterator[bytes]:
        for number in range(5):
            given.append(number)
            yield b"x"

    upload = Upload(count())
    await anext(aiter(upload))
    assert given == [0]


async def test_addresses_with_digests_in_them_are_not_kept_for_ever() -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(404))
    endpoint = Endpoint("http://upstream.test", None, transport)
    upstream = Upstream("up", endpoint, Timeouts(), Limits())
    for number in range(200):
        assert not await upstream.exists(f"/api/blobs/{number}")
    assert endpoint._url.cache_info().currsize <= 64
