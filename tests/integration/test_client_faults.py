"""What the gateway does when a client leaves, dawdles or talks nonsense: nothing leaks, nobody notices."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.fault_client import FaultClient
from tests.fakes.fault_rig import (
    SHORT_TIMERS,
    WRITE_STALL,
    Rig,
    assert_answered,
    assert_refused,
    eventually,
    mistral,
    ollama,
)
from tests.fakes.fault_upstream import FaultUpstream, Seen
from tests.fixtures.gateway import Gateway, run_gateway

RELEASE_SECONDS = 3.0  # from the client's leaving to the upstream's seeing it; far below every timer of `PATIENT`
BODY_BYTES = 1 << 16
SMALL_BUFFER = 4096
SLOW_READER_MIB = 16
PATIENT = {
    **SHORT_TIMERS,
    "GATEWAY_TIMEOUTS__FIRST_BYTE_SECONDS": "50",
    "GATEWAY_TIMEOUTS__IDLE_SECONDS": "50",
    "GATEWAY_TIMEOUTS__TOTAL_SECONDS": "100",
    "GATEWAY_LIMITS__BODY_BYTES": str(BODY_BYTES),
}
SIDES = {"mistral": mistral, "ollama": ollama}


@pytest.fixture(scope="module", params=list(SIDES))
def patient_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fault_upstream: FaultUpstream
) -> Iterator[Gateway]:
    """A gateway that would wait long for its upstream: what ends early, ends because the client left."""
    env = PATIENT | SIDES[request.param](fault_upstream.url)
    with run_gateway(tmp_path_factory.mktemp("patient"), env) as gateway:
        yield gateway


@pytest.fixture
async def rig(patient_process: Gateway, fault_upstream: FaultUpstream) -> AsyncIterator[Rig]:
    chosen = Rig.from_now(patient_process, fault_upstream)
    await chosen.assert_healthy()
    fault_upstream.forget()
    yield chosen
    await chosen.assert_healthy()


async def _upstream_request(rig: Rig, model: str) -> Seen:
    """Wait until the gateway asked its upstream, and return that request."""
    assert await eventually(lambda: rig.upstream.count(model) > 0, 5), "the upstream was never asked"
    return rig.upstream.of(model)[-1]


async def _assert_released(seen: Seen, left_at: float) -> None:
    assert await eventually(lambda: seen.peer_closed_at is not None, 5), "the upstream was never released"
    assert seen.peer_closed_at is not None
    assert seen.peer_closed_at - left_at < RELEASE_SECONDS


class TestLeaving:
    """CF-01 to CF-03: who pays for tokens nobody reads? The upstream hears of it at once."""

    @pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
    async def test_twenty_departures_in_mid_stream_release_the_upstream_each_time(
        self, rig: Rig, *, reset: bool
    ) -> None:
        for _ in range(20):
            rig.upstream.forget()
            async with await FaultClient.open(rig.gateway.port) as client:
                await client.chat("slow-tokens")
                assert await client.head() == 200
                for _ in range(3):
                    assert "error" not in await client.line()
                left_at = await client.leave(reset=reset)
            await _assert_released(rig.upstream.of("slow-tokens")[0], left_at)

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("model", ["hang-before-headers", "hang-after-headers"])
    async def test_leaving_a_silent_upstream_before_the_first_line_releases_it(
        self, rig: Rig, model: str, *, stream: bool
    ) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.chat(model, stream=stream)
            seen = await _upstream_request(rig, model)
            await asyncio.sleep(0.2)
            assert seen.peer_closed_at is None
            left_at = await client.leave()
        await _assert_released(seen, left_at)
        assert rig.upstream.count(model) == 1

    async def test_leaving_a_silent_upstream_in_mid_stream_releases_it(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.chat("hang-mid")
            assert await client.head() == 200
            await client.line()
            await asyncio.sleep(0.3)
            left_at = await client.leave()
        await _assert_released(rig.upstream.of("hang-mid")[0], left_at)

    async def test_leaving_before_an_unstreamed_answer_releases_the_upstream(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.chat("slow-tokens", stream=False)
            seen = await _upstream_request(rig, "slow-tokens")
            await asyncio.sleep(0.3)
            assert seen.peer_closed_at is None
            left_at = await client.leave()
        await _assert_released(seen, left_at)

    async def test_leaving_inside_the_request_body_asks_no_upstream(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.send(b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n")
            await client.send(b'{"model": "ok", "messages": [')
            await asyncio.sleep(0.1)
        await rig.assert_healthy()
        assert rig.upstream.count("ok") == 1, "only the health check's own request may arrive"

    async def test_leaving_with_requests_still_waiting_on_the_connection_harms_nothing(self, rig: Rig) -> None:
        async def visit() -> None:
            async with await FaultClient.open(rig.gateway.port) as client:
                for _ in range(3):
                    await client.chat("ok")
                assert_answered(await client.finish())

        await asyncio.gather(*(visit() for _ in range(40)))

    async def test_a_hundred_cancels_leave_the_pool_whole(self, rig: Rig) -> None:
        await rig.assert_healthy()
        files = rig.open_files()
        chance = random.Random(20261120)  # noqa: S311
        models = ["ok", "slow-tokens", "hang-mid", "hang-before-headers", "rst-mid", "flood"]

        async def visit() -> None:
            async with await FaultClient.open(rig.gateway.port) as client:
                await client.chat(chance.choice(models), stream=chance.random() < 0.7)
                await asyncio.sleep(chance.random() * 0.2)
                await client.leave(reset=chance.random() < 0.5)

        for _ in range(5):
            await asyncio.gather(*(visit() for _ in range(20)))
        for _ in range(20):
            assert_answered(await rig.ask("ok"))
        left_open = [seen.model for seen in rig.upstream.requests if seen.ended_at is None]
        assert await eventually(lambda: rig.upstream.open_streams() == 0, 5), left_open
        assert await eventually(lambda: rig.open_files() <= files + 25, 8), rig.open_files() - files


class TestDawdling:
    """CF-04: a client that stops reading costs little memory and is not waited for without end."""

    async def test_a_stalled_reader_is_cut_off_and_its_upstream_released(self, rig: Rig) -> None:
        before = rig.rss_mib()
        async with await FaultClient.open(rig.gateway.port, SMALL_BUFFER) as client:
            await client.chat("flood")
            assert await client.head() == 200
            stopped_at = time.monotonic()
            seen = rig.upstream.of("flood")[0]
            most = before
            while seen.ended_at is None and time.monotonic() < stopped_at + WRITE_STALL + 4:
                most = max(most, rig.rss_mib())
                await asyncio.sleep(0.05)
            assert most - before < SLOW_READER_MIB
            assert seen.ended_at is not None, "the upstream still sends to nobody"
            assert seen.ended_at - stopped_at >= WRITE_STALL * 0.8
            assert await client.ended(within=5), "the connection was left open"

    async def test_a_slow_but_steady_reader_is_served(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port, SMALL_BUFFER) as client:
            await client.chat("flood")
            assert await client.head() == 200
            deadline = time.monotonic() + WRITE_STALL * 2.5
            while time.monotonic() < deadline:
                assert "error" not in await client.line()
                await asyncio.sleep(0.01)

    async def test_others_are_served_while_readers_stall(self, rig: Rig) -> None:
        clients = [await FaultClient.open(rig.gateway.port, SMALL_BUFFER) for _ in range(10)]
        try:
            for client in clients:
                await client.chat("flood")
                await client.head()
            started = time.monotonic()
            for _ in range(10):
                assert_answered(await rig.ask("ok"))
            assert time.monotonic() - started < 10
        finally:
            for client in clients:
                await client.leave()


class TestNonsense:
    """What is no HTTP, or no request of ours, is told so and harms nothing."""

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n",
            b"hello, is this the model?\r\n\r\n",
            b"POST /api/chat HTTP/9.9.9\r\n\r\n",
            b"POST /api/chat HTTP/1.1\r\nhost x\r\nno colon here\r\n\r\n",
            b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
            b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
            b"POST /api/chat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        ],
        ids=["tls", "words", "version", "header", "length-word", "length-negative", "chunk-size"],
    )
    async def test_garbage_is_400(self, rig: Rig, data: bytes) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.send(data)
            assert await client.head() == 400

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'{"model": ',
            b'{"model": 7}',
            b'"\xff\xfe"',
            b"[" * 20_000,
            b'{"model": NaN}',
        ],
        ids=["empty", "null", "array", "half", "number", "utf8", "deep", "nan"],
    )
    async def test_a_senseless_body_is_400(self, rig: Rig, body: bytes) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.post("/api/chat", body)
            assert_refused(await client.finish(), 400)
        assert not rig.upstream.requests

    async def test_a_body_over_the_limit_is_413_before_it_arrives(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            length = BODY_BYTES + 1
            await client.send(b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n{" % length)
            assert await client.head() == 413

    async def test_a_chunked_body_over_the_limit_is_413(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.send(b"POST /api/chat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(BODY_BYTES // 4096 + 2):
                await client.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            assert await client.head() == 413

    async def test_a_request_that_arrives_byte_by_byte_is_answered(self, rig: Rig) -> None:
        body = json.dumps({"model": "ok", "messages": [{"role": "user", "content": "h"}], "stream": False})
        head = f"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        async with await FaultClient.open(rig.gateway.port) as client:
            for byte in (head + body).encode():
                await client.send(bytes([byte]))
                await asyncio.sleep(0.002)
            reply = await client.finish()
        assert reply.status == 200
        assert reply.complete

    async def test_half_a_header_holds_nobody_up(self, rig: Rig) -> None:
        clients = [await FaultClient.open(rig.gateway.port) for _ in range(50)]
        try:
            for client in clients:
                await client.send(b"POST /api/chat HTTP/1.1\r\nx-slow")
            for _ in range(5):
                assert_answered(await rig.ask("ok"))
        finally:
            for client in clients:
                await client.leave()

    async def test_a_second_request_during_a_stream_is_answered_after_it(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.chat("slow-first-2s")
            await client.chat("ok")
            assert_answered(await client.finish())
            assert_answered(await client.finish())

    async def test_a_connection_serves_again_after_a_refusal_but_not_after_a_cut(self, rig: Rig) -> None:
        async with await FaultClient.open(rig.gateway.port) as client:
            await client.chat("500")
            assert_refused(await client.finish(), 502)
            await client.chat("ok")
            assert_answered(await client.finish())
            await client.chat("rst-mid")
            assert not (await client.finish()).complete
            assert await client.ended(within=2), "after a cut the connection must not be used again"
