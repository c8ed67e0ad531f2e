"""Calls to an upstream: what is sent, what is accepted, what each failure becomes."""

import asyncio

import aiohttp
import httpx
import pytest

from backend.llm.errors import (
    ProviderDisconnected,
    ProviderError,
    ProviderProtocolError,
    ProviderTimeout,
    ProviderUnreachable,
)
from backend.providers.http import Endpoint, Limits, Upstream, open_endpoint, tls_context
from backend.providers.watchdog import Timeouts
from tests.fakes.providers import HANG, Answer, Body, MockUpstream, Piece, settle_loop

SSE = "text/event-stream"
STREAM = Answer(b"data: 1\n\n", content_type=f"{SSE}; charset=utf-8")


def stream_of(*pieces: Piece) -> Answer:
    return Answer(Body(*pieces), content_type=SSE)


async def test_a_stream_is_asked_for_plain_and_read_to_its_end() -> None:
    up = MockUpstream(STREAM)
    reader = await up.upstream.open("/v1/x", {"a": "é"}, SSE)
    assert await reader.read_all() == b"data: 1\n\n"
    assert reader.at_end
    await reader.aclose(complete=True)
    asked = up.asked[0]
    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/x", {"a": "é"})
    assert asked.headers["accept"] == SSE
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["content-type"] == "application/json"
    assert up.bodies[0].closes == 1


async def test_a_json_reply_is_read_whole() -> None:
    up = MockUpstream(Answer(Body(b'{"a":', b"1}")))
    assert await up.upstream.post("/x", {}) == b'{"a":1}'
    assert await up.upstream.get("/y", timeout=1) == b'{"a":1}'
    assert [asked.method for asked in up.asked] == ["POST", "GET"]
    assert [body.closes for body in up.bodies] == [1, 1] or up.bodies[0].closes >= 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"{}"),
        Answer(b"<html>", content_type="text/html"),
        Answer(b"", content_type=""),
        Answer(b"x", content_type=SSE, headers={"content-encoding": "gzip"}),
        Answer(b"", 302, headers={"location": "http://elsewhere.test/"}),
        Answer(b"", 204),
    ],
    ids=["json", "html", "untyped", "compressed", "redirect", "empty"],
)
async def test_anything_but_the_stream_asked_for_is_refused_and_closed(answer: Answer) -> None:
    up = MockUpstream(answer)
    with pytest.raises(ProviderProtocolError):
        await up.upstream.open("/x", {}, SSE)
    assert len(up.asked) == 1
    assert up.bodies[0].closes >= 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("x"), ProviderUnreachable),
        (httpx.ConnectTimeout("x"), ProviderUnreachable),
        (httpx.InvalidURL("x"), ProviderUnreachable),
        (httpx.ReadTimeout("x"), ProviderTimeout),
        (httpx.RemoteProtocolError("x"), ProviderProtocolError),
        (httpx.ReadError("x"), ProviderDisconnected),
        (httpx.WriteError("x"), ProviderDisconnected),
        (ConnectionResetError(), ProviderDisconnected),
        (aiohttp.ServerDisconnectedError(), ProviderDisconnected),
        (aiohttp.ClientPayloadError(), ProviderProtocolError),
        (aiohttp.ServerTimeoutError(), ProviderTimeout),
        (aiohttp.ConnectionTimeoutError(), ProviderUnreachable),
        (aiohttp.InvalidURL("x"), ProviderUnreachable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
async def test_a_failure_before_the_answer_has_its_class(error: Exception, kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        await MockUpstream(error).upstream.open("/x", {}, SSE)
    assert type(caught.value) is kind
    assert "'up'" in caught.value.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadError("x"), ProviderDisconnected),
        (httpx.ConnectError("x"), ProviderDisconnected),
        (httpx.RemoteProtocolError("x"), ProviderProtocolError),
        (aiohttp.ClientPayloadError(), ProviderProtocolError),
        (OSError(), ProviderDisconnected),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
async def test_a_failure_in_mid_answer_is_never_one_that_may_be_repeated(
    error: Exception, kind: type[ProviderError]
) -> None:
    reader = await MockUpstream(stream_of(b"a", error)).upstream.open("/x", {}, SSE)
    assert await reader.read() == b"a"
    with pytest.raises(kind) as caught:
        await reader.read()
    assert not caught.value.retriable
    await reader.aclose()


def certificate_error() -> aiohttp.ClientConnectorCertificateError:
    return aiohttp.ClientConnectorCertificateError(None, ValueError("self-signed"))  # type: ignore[arg-type]


def dns_error() -> aiohttp.ClientConnectorDNSError:
    return aiohttp.ClientConnectorDNSError(None, OSError("no such name"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("error", "text"), [(certificate_error(), "certificate"), (dns_error(), "cannot be found")])
async def test_an_address_that_is_wrong_is_told_apart(error: Exception, text: str) -> None:
    wrapped = httpx.ConnectError("x")
    wrapped.__cause__ = error
    with pytest.raises(ProviderUnreachable, match=text):
        await MockUpstream(wrapped).upstream.get("/x", timeout=1)


async def test_an_answer_over_the_limit_is_refused() -> None:
    up = MockUpstream(stream_of(b"x" * 60, b"x" * 60), limits=Limits(answer_bytes=100))
    reader = await up.upstream.open("/x", {}, SSE)
    assert len(await reader.read()) == 60
    with pytest.raises(ProviderProtocolError, match="too large"):
        await reader.read()
    await reader.aclose()
    assert up.bodies[0].closes == 1


async def test_a_body_of_exactly_the_limit_is_fine() -> None:
    up = MockUpstream(stream_of(b"x" * 100), limits=Limits(answer_bytes=100))
    reader = await up.upstream.open("/x", {}, SSE)
    assert len(await reader.read_all()) == 100
    await reader.aclose()


async def test_a_reply_over_the_limit_is_refused() -> None:
    up = MockUpstream(Answer(b"x" * 11), limits=Limits(reply_bytes=10))
    with pytest.raises(ProviderProtocolError, match="too large"):
        await up.upstream.post("/x", {})


async def test_an_endless_error_body_is_read_only_as_far_as_it_is_worth() -> None:
    up = MockUpstream(Answer(Body(*[b"x" * 16_384] * 1_000), 500))
    with pytest.raises(ProviderError):
        await up.upstream.post("/x", {})
    assert up.bodies[0].closes >= 1


async def test_an_error_body_that_breaks_off_is_told_by_its_status() -> None:
    with pytest.raises(ProviderError) as caught:
        await MockUpstream(Answer(Body(b'{"mess', httpx.ReadError("x")), 429)).upstream.post("/x", {})
    assert caught.value.status == 429


@pytest.mark.parametrize("answer", [HANG, stream_of(HANG), Answer(Body(HANG), 500)], ids=["head", "body", "error"])
async def test_an_upstream_that_never_answers_is_a_timeout(answer: object) -> None:
    up = MockUpstream(answer, timeouts=Timeouts(1, 0.03, 9, 9))  # type: ignore[arg-type]
    with pytest.raises(ProviderError) as caught:
        await (await up.upstream.open("/x", {}, SSE)).read_all()
    assert caught.value.status in {502, 504}


async def test_a_get_takes_no_longer_than_its_own_limit() -> None:
    with pytest.raises(ProviderTimeout):
        await MockUpstream(HANG).upstream.get("/x", timeout=0.02)


async def test_a_call_may_have_its_own_limits() -> None:
    up = MockUpstream(Answer(Body(b"x", pause=0.05), content_type=SSE), timeouts=Timeouts(1, 0.01, 9, 9))
    reader = await up.upstream.open("/x", {}, SSE, Timeouts(1, 5, 9, 9))
    assert await reader.read_all() == b"x"
    await reader.aclose()


async def test_a_caller_who_leaves_closes_the_response() -> None:
    up = MockUpstream(stream_of(b"a", HANG))
    reader = await up.upstream.open("/x", {}, SSE)
    await reader.read()
    task = asyncio.create_task(reader.read())
    await settle_loop()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await reader.aclose()
    await reader.aclose()
    assert up.bodies[0].closes == 1


async def test_a_complete_answer_gets_a_moment_to_end_but_not_for_ever() -> None:
    for pieces in ((b"done", HANG), (b"done", httpx.ReadError("x")), (b"done", b"more")):
        up = MockUpstream(stream_of(*pieces))
        reader = await up.upstream.open("/x", {}, SSE)
        await reader.read()
        await asyncio.wait_for(reader.aclose(complete=True), 1)
        assert up.bodies[0].closes == 1


async def test_the_key_goes_along_and_nothing_an_endpoint_has_not_is_sent() -> None:
    up = MockUpstream(Answer(b"{}"))
    await up.upstream.get("/x", timeout=1)
    assert up.asked[0].headers["authorization"] == "Bearer up-key"
    assert up.asked[0].headers["user-agent"] == "passerelle"
    anonymous = Upstream("up", Endpoint("http://upstream.test", None, up.transport), Timeouts(), Limits())
    await anonymous.get("/x", timeout=1)
    assert "authorization" not in up.asked[1].headers


def test_upstreams_are_verified() -> None:
    context = tls_context(None)
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


async def test_an_endpoint_opens_nothing_before_its_first_use_and_can_be_closed() -> None:
    upstream = Upstream("up", open_endpoint("https://lab.test", api_key="k", ca_file=None), Timeouts(), Limits())
    await upstream.aclose()
