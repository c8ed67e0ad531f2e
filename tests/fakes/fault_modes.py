"""What a faulty upstream does with one chat request: a table from model name to behaviour."""

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable
from functools import cache

from tests.fakes.fault_wires import ANSWER, PAUSE, SECRET, Exchange, Sse, usage

FOREVER = 120.0  # no fault outlives this
ENDLESS = 1_000_000
MIB = 1 << 20


Fault = Callable[[Exchange], Awaitable[None]]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    def register(behaviour: Fault) -> Fault:
        FAULTS[name] = behaviour
        return behaviour

    return register


@fault("ok")
async def ok(ex: Exchange) -> None:
    if not ex.streaming:
        await ex.reply(200, ex.wire.whole("".join(ANSWER)))
        return
    await ex.start()
    await ex.chunk(ex.wire.lead())
    for text in ANSWER:
        await ex.chunk(ex.wire.token(text))
    await ex.chunk(ex.wire.last(counts=usage()))
    await ex.chunk(ex.wire.end())
    await ex.finish()


@fault("hang-before-headers")
async def hang_before_headers(ex: Exchange) -> None:
    del ex
    await asyncio.sleep(FOREVER)


@fault("hang-after-headers")
async def hang_after_headers(ex: Exchange) -> None:
    await ex.start()
    await asyncio.sleep(FOREVER)


@fault("hang-mid")
async def hang_mid(ex: Exchange) -> None:
    await ex.begin_answer()
    await asyncio.sleep(FOREVER)


@fault("rst-before-headers")
async def rst_before_headers(ex: Exchange) -> None:
    ex.reset()


@fault("fin-before-headers")
async def fin_before_headers(ex: Exchange) -> None:
    """Close without a word, which is what falling out of a behaviour does."""


@fault("rst-mid")
async def rst_mid(ex: Exchange) -> None:
    await ex.begin_answer()
    ex.reset()


@fault("fin-no-done")
async def fin_no_done(ex: Exchange) -> None:
    await ex.start_until_close()
    await ex.raw(ex.wire.lead() + ex.wire.token(ANSWER[0]) + ex.wire.token(ANSWER[1]))
    await asyncio.sleep(PAUSE)


@fault("chunked-no-done")
async def chunked_no_done(ex: Exchange) -> None:
    await ex.begin_answer()
    await ex.finish()


@fault("fin-mid-line")
async def fin_mid_line(ex: Exchange) -> None:
    await fin_no_done(ex)
    await ex.raw(ex.wire.token("never whole")[:-20])


@fault("short-content-length")
async def short_content_length(ex: Exchange) -> None:
    await ex.head(200, ex.wire.content_type, "content-length: 5000")
    await ex.raw(ex.wire.lead() + ex.wire.token(ANSWER[0]))
    await asyncio.sleep(PAUSE)


@fault("truncated-chunk")
async def truncated_chunk(ex: Exchange) -> None:
    await ex.begin_answer()
    await ex.raw(b"fff\r\n" + ex.wire.token(ANSWER[2])[:-20])


@fault("bad-chunk-size")
async def bad_chunk_size(ex: Exchange) -> None:
    await ex.begin_answer()
    await ex.raw(b"not hexadecimal\r\n" + ex.wire.token(ANSWER[2]))


async def _odd_line(ex: Exchange, line: bytes) -> None:
    await ex.begin_answer()
    await ex.chunk(line)
    await ex.chunk(ex.wire.last(counts=usage()) + ex.wire.end())
    await ex.finish()


@fault("bad-json")
async def bad_json(ex: Exchange) -> None:
    await _odd_line(ex, ex.wire.token("x").replace(b'{"', b"{not json", 1))


@fault("bad-utf8")
async def bad_utf8(ex: Exchange) -> None:
    await _odd_line(ex, ex.wire.token("??").replace(b"??", b"\xff\xfe"))


@fault("error-event")
async def error_event(ex: Exchange) -> None:
    await ex.begin_answer()
    await ex.chunk(ex.wire.error())
    await ex.finish()


@fault("error-finish")
async def error_finish(ex: Exchange) -> None:
    await ex.begin_answer()
    await ex.chunk(ex.wire.last("error") + ex.wire.end())
    await ex.finish()


@fault("finish-no-done")
async def finish_no_done(ex: Exchange) -> None:
    await ex.begin_answer()
    await ex.chunk(ex.wire.token(ANSWER[2]) + ex.wire.token(ANSWER[3]) + ex.wire.last(counts=usage()))
    await ex.finish()


@fault("u2028")
async def u2028(ex: Exchange) -> None:
    await ex.start()
    await ex.chunk(ex.full_answer("a\u2028b\u2029c\u0085d", "\x0be\x0cf\x1cg"))
    await ex.finish()


@fault("split")
async def split(ex: Exchange) -> None:
    await ex.start_until_close()
    ex.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in ex.full_answer():
        await ex.raw(bytes([byte]))
        await asyncio.sleep(0)


@fault("crlf")
async def crlf(ex: Exchange) -> None:
    await ex.start()
    await ex.chunk(ex.full_answer().replace(b"\n", b"\r\n"))
    await ex.finish()


@fault("huge-line")
async def huge_line(ex: Exchange) -> None:
    await ex.begin_answer()
    await ex.chunk(ex.wire.token("x")[:-12])
    for _ in range(64):
        await ex.chunk(b"x" * MIB)
    await ex.chunk(b"\n\n")
    await ex.finish()


@fault("flood")
async def flood(ex: Exchange) -> None:
    await ex.start()
    token = ex.wire.token("x" * 4000)
    for _ in range(ENDLESS):
        await ex.chunk(token)
        await asyncio.sleep(0)


async def _drip(ex: Exchange, data: bytes) -> None:
    for byte in data:
        await ex.raw(bytes([byte]))
        await asyncio.sleep(0.05)


@fault("drip")
async def drip(ex: Exchange) -> None:
    await _drip(ex, b"HTTP/1.1 200 OK\r\n" + b"x-slow: yes\r\n" * 100 + b"\r\n")


@fault("drip-mid")
async def drip_mid(ex: Exchange) -> None:
    await ex.begin_answer()
    await _drip(ex, b"1\r\nx\r\n" * 300)


@fault("slow-tokens")
async def slow_tokens(ex: Exchange) -> None:
    if not ex.streaming:  # a server that does not stream says nothing before the answer is whole
        await asyncio.sleep(FOREVER)
    await ex.start()
    await ex.chunk(ex.wire.lead())
    for _ in range(int(FOREVER / 0.02)):
        await ex.chunk(ex.wire.token("tok "))
        await asyncio.sleep(0.02)


@fault("slow-first-2s")
async def slow_first_2s(ex: Exchange) -> None:
    await asyncio.sleep(2)
    await ok(ex)


@fault("json-200")
async def json_200(ex: Exchange) -> None:
    await ex.reply(200, Sse("json-200").whole("whole"))


@fault("html-200")
async def html_200(ex: Exchange) -> None:
    await ex.reply(200, f"<html>captive portal {SECRET}</html>".encode(), kind="text/html")


@fault("html-500")
async def html_500(ex: Exchange) -> None:
    await ex.reply(500, f"<h1>{SECRET}</h1>".encode() + b"x" * 100_000, kind="text/html")


@fault("302")
async def redirect(ex: Exchange) -> None:
    await ex.reply(302, b"", f"location: {ex.base_url}/redirected")


@fault("gzip")
async def gzip_unasked(ex: Exchange) -> None:
    await ex.start_until_close("content-encoding: gzip")
    await ex.raw(gzip.compress(ex.full_answer()))


@fault("bad-gzip")
async def bad_gzip(ex: Exchange) -> None:
    await ex.start_until_close("content-encoding: gzip")
    await ex.raw(b"not gzip at all")


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(200 * MIB), 1)


@fault("gzip-bomb")
async def gzip_bomb(ex: Exchange) -> None:
    bomb = await asyncio.to_thread(_bomb)
    await ex.start_until_close("content-encoding: gzip")
    await ex.raw(bomb)


@fault("many-headers")
async def many_headers(ex: Exchange) -> None:
    await ex.raw(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 20_000 + b"\r\n")


@fault("garbage")
async def garbage(ex: Exchange) -> None:
    await ex.raw(b"\x16\x03\x01 not http\r\n\r\n")


async def _with_usage(ex: Exchange, counts: dict[str, int] | None) -> None:
    await ex.start()
    await ex.chunk(ex.wire.lead() + b"".join(ex.wire.token(text) for text in ANSWER))
    await ex.chunk(ex.wire.last(counts=counts) + ex.wire.end())
    await ex.finish()


@fault("no-usage")
async def no_usage(ex: Exchange) -> None:
    await _with_usage(ex, None)


@fault("negative-usage")
async def negative_usage(ex: Exchange) -> None:
    await _with_usage(ex, usage(-5, -7))


@fault("huge-usage")
async def huge_usage(ex: Exchange) -> None:
    await _with_usage(ex, usage(10**12, 10**12))


@fault("bad-tool-args")
async def bad_tool_args(ex: Exchange) -> None:
    await ex.start()
    await ex.chunk(ex.wire.lead() + ex.wire.tool_call('{"city": ') + ex.wire.end())
    await ex.finish()


@fault("unknown-finish")
async def unknown_finish(ex: Exchange) -> None:
    await ex.start()
    await ex.chunk(ex.wire.lead() + ex.wire.token(ANSWER[0]))
    await ex.chunk(ex.wire.last("banana", usage()) + ex.wire.end())
    await ex.finish()


@fault("empty-choices")
async def empty_choices(ex: Exchange) -> None:
    await ex.start()
    empty = Sse("empty-choices").chunk([], p="abc")
    await ex.chunk(ex.wire.lead() + empty + ex.full_answer())
    await ex.finish()


@fault("only-empty-choices")
async def only_empty_choices(ex: Exchange) -> None:
    await ex.start()
    await ex.chunk(Sse("only-empty-choices").chunk([]) + ex.wire.end())
    await ex.finish()


def _refuse(status: int, *extra: str) -> Fault:
    async def behave(ex: Exchange) -> None:
        await ex.reply(status, ex.wire.refusal(status), *extra)

    return behave


def _once(first: Fault) -> Fault:
    async def behave(ex: Exchange) -> None:
        await (first(ex) if ex.attempt == 1 else ok(ex))

    return behave


for _status in (400, 401, 403, 404, 422, 500, 502, 503):
    FAULTS[str(_status)] = _refuse(_status)
FAULTS["429"] = _refuse(429, "retry-after: 7")
FAULTS["429-bare"] = _refuse(429)
FAULTS["429-hour"] = _refuse(429, "retry-after: 3600")
FAULTS["429-once"] = _once(_refuse(429, "retry-after: 1"))
FAULTS["503-once"] = _once(_refuse(503))
FAULTS["503-later"] = _refuse(503, "retry-after: 20")
