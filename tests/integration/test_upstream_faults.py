"""What clients see when an upstream fails: a status before the first line, an error and a cut after it."""

import asyncio
import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fakes.fault_certificates import EXPIRED, Authority, only_tls_1_0
from tests.fakes.fault_client import ask
from tests.fakes.fault_rig import (
    CONNECT,
    FIRST_BYTE,
    IDLE,
    TOTAL,
    Rig,
    StartGateway,
    assert_answered,
    assert_cut,
    assert_refused,
    eventually,
    mistral,
)
from tests.fakes.fault_upstream import FaultUpstream
from tests.fakes.fault_wires import ANSWER, SECRET
from tests.fixtures.gateway import free_port

RSS_GROWTH_MIB = 32
AT_ONCE = 3.0  # seconds an error may take that needs no timer
SLACK = 2.0  # seconds a timer may be late on a busy machine; the next longer timer is later still


@contextmanager
def _black_hole() -> Iterator[str]:
    """Yield the URL of a port whose accept queue is full, so that the kernel drops every new connection."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestOutOfReach:
    """UF-01: no connection, so nothing was sent and the client is told at once."""

    async def test_an_upstream_that_went_away_is_502_and_serves_again_when_back(
        self, start_gateway: StartGateway
    ) -> None:
        with FaultUpstream() as upstream:
            rig = Rig(start_gateway(mistral(upstream.url)), upstream)
            await rig.assert_healthy()
        reply = await rig.ask("ok")
        assert_refused(reply, 502)
        assert reply.seconds < 2 * CONNECT + SLACK
        assert_refused(await rig.ask("ok", stream=False), 502)
        with FaultUpstream(upstream.port) as again:
            await Rig(rig.gateway, again).assert_healthy()

    async def test_a_refused_connection_is_502(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway(mistral(f"http://127.0.0.1:{free_port()}"))
        reply = await ask(gateway.port, "mistral-small-latest")
        assert_refused(reply, 502)
        assert reply.seconds < AT_ONCE
        assert "Traceback" not in gateway.log_text()

    async def test_an_unknown_host_is_502(self, start_gateway: StartGateway) -> None:
        gateway = start_gateway(mistral("http://no-such-host.invalid"))
        assert_refused(await ask(gateway.port, "mistral-small-latest"), 502)
        assert "Traceback" not in gateway.log_text()

    async def test_a_black_hole_is_502_after_the_connect_timer_and_one_retry(self, start_gateway: StartGateway) -> None:
        with _black_hole() as url:
            gateway = start_gateway(mistral(url) | {"GATEWAY_TIMEOUTS__FIRST_BYTE_SECONDS": "8"})
            reply = await ask(gateway.port, "mistral-small-latest")
            assert_refused(reply, 502)
            assert reply.seconds <= 2 * CONNECT + 2 * SLACK
        assert "Traceback" not in gateway.log_text()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class TestEncryption:
    """UF-14: a peer that cannot prove its name is no upstream."""

    def _env(self, upstream: FaultUpstream, trusted: Path) -> dict[str, str]:
        return mistral(upstream.url) | {"GATEWAY_TLS__CA_FILE": str(trusted)}

    async def test_a_valid_certificate_of_a_trusted_authority_is_accepted(
        self, authority: Authority, start_gateway: StartGateway
    ) -> None:
        with FaultUpstream(tls=authority.issue("127.0.0.1")) as upstream:
            gateway = start_gateway(self._env(upstream, authority.certificate))
            await Rig(gateway, upstream).assert_healthy()

    @pytest.mark.parametrize("defect", ["expired", "wrong-host", "self-signed", "tls-1.0"])
    async def test_a_bad_certificate_is_502_and_nothing_is_sent(
        self, authority: Authority, start_gateway: StartGateway, defect: str
    ) -> None:
        context = {
            "expired": lambda: authority.issue("127.0.0.1", EXPIRED),
            "wrong-host": lambda: authority.issue("upstream.example"),
            "self-signed": lambda: authority.issue("127.0.0.1", trusted=False),
            "tls-1.0": lambda: only_tls_1_0(authority.issue("127.0.0.1")),
        }[defect]()
        with FaultUpstream(tls=context) as upstream:
            gateway = start_gateway(self._env(upstream, authority.certificate))
            assert_refused(await ask(gateway.port, "mistral-small-latest"), 502)
            assert not upstream.requests
            assert "Traceback" not in gateway.log_text()


class TestBeforeTheFirstLine:
    """UF-02 to UF-06: nothing was sent yet, so the status tells."""

    @pytest.mark.parametrize("model", ["hang-before-headers", "hang-after-headers", "drip"])
    async def test_silence_is_504_at_the_first_byte_timer_and_never_retried(self, rig: Rig, model: str) -> None:
        reply = await rig.ask(model)
        assert_refused(reply, 504)
        assert FIRST_BYTE * 0.9 <= reply.seconds <= FIRST_BYTE + SLACK
        assert rig.upstream.count(model) == 1

    @pytest.mark.parametrize(
        "model",
        ["rst-before-headers", "fin-before-headers", "garbage", "many-headers", "302", "html-200"],
    )
    async def test_a_broken_protocol_is_502_at_once(self, rig: Rig, model: str) -> None:
        reply = await rig.ask(model)
        assert_refused(reply, 502)
        assert reply.seconds < AT_ONCE
        assert rig.upstream.count(model) == 1, "the upstream may be at work on the first request"
        assert not rig.upstream.strays, "a redirect was followed"

    @pytest.mark.parametrize("model", ["gzip", "bad-gzip", "gzip-bomb"])
    async def test_compression_nobody_asked_for_is_502_and_never_inflated(self, rig: Rig, model: str) -> None:
        before = rig.rss_mib()
        assert_refused(await rig.ask(model), 502)
        assert rig.rss_mib() - before < RSS_GROWTH_MIB
        assert rig.upstream.of(model)[0].headers.get("accept-encoding", "identity") == "identity"

    async def test_a_json_body_instead_of_the_stream_is_502(self, mistral_rig: Rig) -> None:
        assert_refused(await mistral_rig.ask("json-200"), 502)

    async def test_twenty_thousand_headers_cost_no_memory(self, mistral_rig: Rig) -> None:
        before = mistral_rig.rss_mib()
        for _ in range(10):
            await mistral_rig.ask("many-headers")
        assert mistral_rig.rss_mib() - before < RSS_GROWTH_MIB


class TestRefusals:
    """UF-04 to UF-06: the upstream answered, with a status of its own."""

    @pytest.mark.parametrize(
        ("model", "status", "requests"),
        [
            ("500", 502, 1),
            ("html-500", 502, 1),
            ("502", 502, 2),
            ("503", 503, 2),
            ("503-later", 503, 1),
            ("401", 502, 1),
            ("403", 502, 1),
        ],
    )
    @pytest.mark.parametrize("stream", [True, False])
    async def test_upstream_trouble_keeps_its_words_to_itself(
        self, rig: Rig, model: str, status: int, requests: int, *, stream: bool
    ) -> None:
        reply = await rig.ask(model, stream=stream)
        assert "upstream says" not in assert_refused(reply, status)
        assert rig.upstream.count(model) == requests

    @pytest.mark.parametrize("model", ["400", "422"])
    async def test_a_refused_request_is_400_with_the_upstreams_reason_but_no_secret(self, rig: Rig, model: str) -> None:
        assert "upstream says" in assert_refused(await rig.ask(model), 400)
        assert rig.upstream.count(model) == 1

    async def test_an_unknown_model_upstream_is_404_in_ollamas_words(self, rig: Rig) -> None:
        sentence = assert_refused(await rig.ask("404"), 404)
        assert re.search(r"model '404(:latest)?' not found", sentence), sentence
        assert rig.upstream.count("404") == 1

    @pytest.mark.parametrize(
        ("model", "retry_after", "requests"), [("429", 7, 1), ("429-hour", 60, 1), ("429-bare", None, 2)]
    )
    async def test_a_rate_limit_is_passed_on_with_its_waiting_time(
        self, rig: Rig, model: str, retry_after: int | None, requests: int
    ) -> None:
        reply = await rig.ask(model)
        assert_refused(reply, 429)
        waiting = reply.headers.get("retry-after")
        if retry_after is None:
            assert waiting is None or 0 < int(waiting) <= 60
        else:
            assert waiting == str(retry_after)
        assert rig.upstream.count(model) == requests

    @pytest.mark.parametrize("model", ["503-once", "429-once"])
    async def test_a_short_refusal_is_tried_once_more_and_the_client_never_knows(self, rig: Rig, model: str) -> None:
        assert_answered(await rig.ask(model))
        assert rig.upstream.count(model) == 2

    @pytest.mark.parametrize("status", ["401", "403"])
    async def test_refused_credentials_are_counted_for_the_operator(
        self, fault_upstream: FaultUpstream, start_gateway: StartGateway, status: str
    ) -> None:
        port = free_port()
        gateway = start_gateway(mistral(fault_upstream.url) | {"GATEWAY_METRICS__PORT": str(port)})
        rig = Rig(gateway, fault_upstream)
        assert_refused(await rig.ask(status), 502)
        page = await asyncio.to_thread(_fetch, f"http://127.0.0.1:{port}/metrics")
        assert re.search(r"^\w*upstream_auth_failures_total(\{[^}]*\})? 1(\.0)?$", page, re.MULTILINE), page


class TestAfterTheFirstLine:
    """UF-07 to UF-09: the status is sent, so the last line tells, and the body never ends properly."""

    async def test_a_stall_ends_with_an_error_at_the_idle_timer(self, rig: Rig) -> None:
        reply = await rig.ask("hang-mid")
        assert_cut(reply)
        assert IDLE * 0.9 <= reply.seconds <= IDLE + 0.2 + SLACK
        assert rig.upstream.count("hang-mid") == 1

    @pytest.mark.parametrize(
        "model",
        [
            "rst-mid",
            "fin-no-done",
            "chunked-no-done",
            "fin-mid-line",
            "truncated-chunk",
            "bad-chunk-size",
            "error-event",
        ],
    )
    async def test_a_broken_stream_keeps_its_tokens_and_ends_with_an_error(self, rig: Rig, model: str) -> None:
        reply = await rig.ask(model)
        assert_cut(reply)
        assert reply.seconds < AT_ONCE
        assert rig.upstream.count(model) == 1, "a begun answer must never be asked for twice"

    @pytest.mark.parametrize("model", ["bad-json", "bad-utf8"])
    async def test_an_unreadable_event_ends_with_an_error(self, mistral_rig: Rig, model: str) -> None:
        assert_cut(await mistral_rig.ask(model))
        assert mistral_rig.upstream.count(model) == 1

    @pytest.mark.parametrize(("model", "odd"), [("bad-json", b"{not json"), ("bad-utf8", b"\xff\xfe")])
    async def test_an_ollama_servers_odd_line_is_let_through_untouched(
        self, ollama_rig: Rig, model: str, odd: bytes
    ) -> None:
        reply = await ollama_rig.ask(model)
        assert reply.complete
        lines = reply.body.splitlines()
        assert odd in lines[2]
        assert json.loads(lines[-1])["done"] is True

    async def test_a_body_shorter_than_announced_ends_with_an_error(self, rig: Rig) -> None:
        assert_cut(await rig.ask("short-content-length"), content=ANSWER[0])

    async def test_a_finish_reason_error_is_an_error(self, mistral_rig: Rig) -> None:
        assert_cut(await mistral_rig.ask("error-finish"))

    @pytest.mark.parametrize(
        ("model", "status"),
        [("rst-mid", 502), ("fin-no-done", 502), ("bad-json", 502), ("error-event", 502), ("hang-mid", 504)],
    )
    async def test_without_a_stream_every_failure_has_a_status(self, mistral_rig: Rig, model: str, status: int) -> None:
        assert_refused(await mistral_rig.ask(model, stream=False), status)
        assert mistral_rig.upstream.count(model) == 1

    @pytest.mark.parametrize("model", ["slow-tokens", "drip-mid"])
    async def test_an_endless_answer_ends_at_the_total_timer(self, rig: Rig, model: str) -> None:
        reply = await rig.ask(model)
        assert not reply.complete
        assert "error" in reply.lines[-1]
        assert reply.seconds <= TOTAL + SLACK
        if model == "slow-tokens":
            assert reply.seconds >= TOTAL * 0.9


class TestSizes:
    """UF-11: whatever an upstream sends, memory stays bounded."""

    async def test_a_line_over_the_cap_ends_the_answer(self, rig: Rig) -> None:
        before = rig.rss_mib()
        assert_cut(await rig.ask("huge-line"))
        assert rig.rss_mib() - before < RSS_GROWTH_MIB
        seen = rig.upstream.of("huge-line")[0]
        assert await eventually(lambda: seen.ended_at is not None, 2)
        assert seen.sent < 32 << 20, "the rest of the line was read for nothing"

    @pytest.mark.parametrize("stream", [True, False])
    async def test_an_answer_over_the_cap_is_ended_and_the_upstream_released(
        self, fault_upstream: FaultUpstream, start_gateway: StartGateway, *, stream: bool
    ) -> None:
        cap = 4 << 20
        env = {"GATEWAY_LIMITS__ANSWER_BYTES": str(cap), "GATEWAY_TIMEOUTS__TOTAL_SECONDS": "60"}
        rig = Rig(start_gateway(mistral(fault_upstream.url) | env), fault_upstream)
        await rig.assert_healthy()
        before = rig.rss_mib()
        reply = await rig.ask("flood", stream=stream)
        if stream:
            last = reply.lines[-1]
            assert ("error" in last and not reply.complete) or last.get("done_reason") == "length"
        else:
            assert reply.status == 502 or reply.json["done_reason"] == "length"
        assert len(reply.body) <= cap + (1 << 20)
        assert rig.rss_mib() - before < RSS_GROWTH_MIB
        await rig.assert_healthy()
        assert fault_upstream.of("flood")[-1].sent < 4 * cap


class TestOddButWhole:
    """UF-10, UF-12 and UF-13: unusual answers that are no failures."""

    @pytest.mark.parametrize("model", ["ok", "split", "crlf"])
    async def test_framing_never_shows(self, rig: Rig, model: str) -> None:
        assert_answered(await rig.ask(model))

    async def test_exotic_separators_are_text(self, rig: Rig) -> None:
        assert_answered(await rig.ask("u2028"), content="a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg")

    async def test_exotic_separators_are_escaped_for_clients_that_split_on_them(self, mistral_rig: Rig) -> None:
        reply = await mistral_rig.ask("u2028")
        assert not set(reply.text) & set("\u2028\u2029\u0085\x0b\x0c\x1c"), reply.text

    async def test_a_finished_answer_without_done_marker_is_whole(self, rig: Rig) -> None:
        assert_answered(await rig.ask("finish-no-done"))

    @pytest.mark.parametrize("model", ["no-usage", "negative-usage", "huge-usage"])
    async def test_unbelievable_usage_is_replaced_by_an_estimate(self, mistral_rig: Rig, model: str) -> None:
        last = assert_answered(await mistral_rig.ask(model))
        assert 0 < last["prompt_eval_count"] < 10**6
        assert 0 < last["eval_count"] < 10**6

    @pytest.mark.parametrize("model", ["bad-tool-args", "unknown-finish", "empty-choices", "only-empty-choices"])
    async def test_strange_events_are_mapped_or_reported_but_never_crash(self, mistral_rig: Rig, model: str) -> None:
        reply = await mistral_rig.ask(model)
        if reply.status != 200:
            assert_refused(reply, 502)
        elif reply.complete:
            assert reply.lines[-1]["done"] is True
        else:
            assert "error" in reply.lines[-1]

    async def test_an_event_without_choices_is_skipped(self, mistral_rig: Rig) -> None:
        assert_answered(await mistral_rig.ask("empty-choices"))


class TestCircuitBreaker:
    """UF-15: an upstream that keeps failing is left alone for a while."""

    async def test_five_failures_open_it_and_one_probe_closes_it(
        self, fault_upstream: FaultUpstream, start_gateway: StartGateway
    ) -> None:
        env = {"GATEWAY_BREAKER__FAILURES": "5", "GATEWAY_BREAKER__OPEN_SECONDS": "2"}
        env |= {"GATEWAY_TIMEOUTS__FIRST_BYTE_SECONDS": "5"}
        rig = Rig(start_gateway(mistral(fault_upstream.url) | env), fault_upstream)
        await rig.assert_healthy()
        fault_upstream.forget()
        for _ in range(5):
            assert_refused(await rig.ask("500"), 502)
        opened = time.monotonic()
        for _ in range(5):
            reply = await rig.ask("500")
            assert_refused(reply, 503)
            assert 1 <= int(reply.headers["retry-after"]) <= 60
            assert reply.seconds < AT_ONCE
        assert fault_upstream.count("500") == 5, "an open circuit must not let requests through"
        await asyncio.sleep(max(0.0, opened + 2.3 - time.monotonic()))
        replies = await asyncio.gather(*(rig.ask("slow-first-2s") for _ in range(8)))
        assert sorted(reply.status for reply in replies) == [200, *[503] * 7]
        assert fault_upstream.count("slow-first-2s") == 1, "half open means one probe"
        await rig.assert_healthy()

    async def test_a_failed_probe_opens_it_again(
        self, fault_upstream: FaultUpstream, start_gateway: StartGateway
    ) -> None:
        env = {"GATEWAY_BREAKER__FAILURES": "2", "GATEWAY_BREAKER__OPEN_SECONDS": "1"}
        rig = Rig(start_gateway(mistral(fault_upstream.url) | env), fault_upstream)
        for _ in range(2):
            assert_refused(await rig.ask("500"), 502)
        assert_refused(await rig.ask("ok"), 503)
        await asyncio.sleep(1.2)
        assert_refused(await rig.ask("500"), 502)
        assert_refused(await rig.ask("ok"), 503)

    @pytest.mark.parametrize("model", ["429", "400", "404"])
    async def test_refusals_that_are_no_outage_leave_it_closed(
        self, fault_upstream: FaultUpstream, start_gateway: StartGateway, model: str
    ) -> None:
        env = mistral(fault_upstream.url) | {"GATEWAY_BREAKER__FAILURES": "2"}
        rig = Rig(start_gateway(env), fault_upstream)
        for _ in range(4):
            assert (await rig.ask(model)).status == int(model)
        await rig.assert_healthy()


class TestAdmission:
    """UF-16: a slow upstream fills a bounded queue, and what does not fit is refused at once."""

    async def test_the_queue_is_bounded_and_refusals_are_quick(
        self, fault_upstream: FaultUpstream, start_gateway: StartGateway
    ) -> None:
        env = {"GATEWAY_LIMITS__CONCURRENT_REQUESTS": "20", "GATEWAY_LIMITS__QUEUED_REQUESTS": "20"}
        env |= {"GATEWAY_TIMEOUTS__FIRST_BYTE_SECONDS": "10", "GATEWAY_TIMEOUTS__TOTAL_SECONDS": "20"}
        rig = Rig(start_gateway(mistral(fault_upstream.url) | env), fault_upstream)
        await rig.assert_healthy()
        fault_upstream.forget()
        crowd = [asyncio.ensure_future(rig.ask("slow-first-2s")) for _ in range(200)]
        assert await eventually(lambda: sum(task.done() for task in crowd) >= 160, 1.5), "refusals came late"
        late = [await rig.ask("slow-first-2s") for _ in range(10)]
        assert sorted(reply.seconds for reply in late)[5] < 1, "a refusal waited for an answer"
        replies = [*await asyncio.gather(*crowd), *late]
        answered = [reply for reply in replies if reply.status == 200]
        for reply in replies:
            if reply.status != 200:
                sentence = assert_refused(reply, 503)
                assert sentence == "server busy, please try again.  maximum pending requests exceeded"
        assert 20 <= len(answered) <= 40
        assert fault_upstream.most_open <= 20
        assert fault_upstream.count("slow-first-2s") <= 1.2 * len(answered)
        await rig.assert_healthy()


async def test_the_gateways_key_reaches_only_the_upstream(mistral_rig: Rig) -> None:
    reply = await mistral_rig.ask("ok")
    assert mistral_rig.upstream.of("ok")[0].headers["authorization"] == "Bearer test-key-of-the-gateway"
    assert "test-key-of-the-gateway" not in reply.text + json.dumps(reply.headers)
    assert "test-key-of-the-gateway" not in mistral_rig.gateway.log_text()


async def test_upstream_secrets_stay_out_of_the_log(mistral_rig: Rig) -> None:
    for model in ("400", "401", "422", "500", "html-200", "html-500", "error-event"):
        await mistral_rig.ask(model)
    assert SECRET not in mistral_rig.gateway.log_text()


async def test_a_hundred_failures_leave_no_open_files(mistral_rig: Rig) -> None:
    await mistral_rig.assert_healthy()
    before = mistral_rig.open_files()
    models = [
        "rst-before-headers",
        "rst-mid",
        "garbage",
        "bad-json",
        "huge-line",
        "gzip",
        "500",
        "fin-no-done",
    ]
    for _ in range(13):
        await asyncio.gather(*(mistral_rig.ask(model) for model in models))
    assert await eventually(lambda: mistral_rig.open_files() <= before + 5, 8), mistral_rig.open_files() - before


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310
        return str(page.read().decode())
