"""Open answers: what counts as begun, and what an upstream may not repeat to the caller."""

import asyncio

import httpx
import pytest

from backend.llm.errors import ProviderError
from backend.llm.events import ChatEvent
from backend.providers import http
from backend.providers.http import Endpoint, Limits, Upstream
from backend.providers.streams import DecodedStream
from backend.providers.watchdog import Timeouts
from backend.wire.openai.chunks import ChunkDecoder

KEY = "Zx81QpNoPatternKnowsMe"
PIECE = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"%s"}}]}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'


class Transport(httpx.AsyncBaseTransport):
    """Answers with pieces, a pause before each."""

    def __init__(self, pieces: list[bytes], pause: float) -> None:
        self._pieces = iter([*pieces, b""])
        self._pause = pause

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def read() -> bytes:
            await asyncio.sleep(self._pause)
            return next(self._pieces)

        headers = {"content-type": "text/event-stream"}
        return httpx.Response(
            200, headers=headers, stream=httpx.ByteStream(b""), request=request, extensions={http._READ: read}
        )


async def read_all(pieces: list[bytes], timeouts: Timeouts, pause: float = 0.0) -> list[ChatEvent]:
    upstream = Upstream("up", Endpoint("http://up", KEY, Transport(pieces, pause)), timeouts, Limits())
    reader = await upstream.open("/x", {}, "text/event-stream")
    stream = DecodedStream(reader, ChunkDecoder("up", 1 << 20))
    try:
        return [event async for events in stream for event in events]
    finally:
        await stream.aclose()


async def test_a_long_tool_call_in_pieces_is_not_taken_for_silence() -> None:
    pieces = [PIECE % b"{", *[PIECE % b" "] * 8, PIECE % b"}", END]
    events = await read_all(pieces, Timeouts(1, first_byte=0.1, idle=0.1, total=5), pause=0.03)
    assert len(events) == 2


@pytest.mark.parametrize("before", [b"", b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'])
async def test_an_upstream_that_repeats_our_key_in_a_stream_is_masked(before: bytes) -> None:
    failure = b'data: {"error":{"message":"bad key %s here"}}\n\n' % KEY.encode()
    with pytest.raises(ProviderError) as caught:
        await read_all([before + failure], Timeouts())
    assert KEY not in caught.value.message
    assert KEY not in str(caught.value)
    assert "bad key [masked] here" in caught.value.message
