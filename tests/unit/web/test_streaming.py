"""Answers as HTTP: the right status, an end that cannot be mistaken, and always a closed upstream."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import Scope

from backend.core.errors import ClientGone, GatewayError, InvalidRequest, NotAuthenticated, PayloadTooLarge
from backend.llm.errors import ProviderTimeout
from backend.web import streaming
from backend.web.body import BodyLimits
from backend.web.client import ClientWatch
from backend.web.streaming import ABORT, CLOSE, DIRECT_SEND, AnswerResponse, respond
from tests.fakes.providers import hang, settle_loop
from tests.unit.web.scripted import LIMIT, Client, ScriptedAnswer, scope_of

LIMITS = BodyLimits(LIMIT, 1, 1)


class Rig:
    """One response on its way to one client."""

    def __init__(self, answer: ScriptedAnswer, *, stall: float = 1.0) -> None:
        self.client = Client()
        self.answer = answer
        self.calls: list[str] = []
        self.watch = ClientWatch(self.client.receive, stall).start()
        self.response = AnswerResponse(answer, self.watch)

    @property
    def scope(self) -> Scope:
        extensions = {ABORT: lambda: self.calls.append("abort"), CLOSE: self._close}
        return {**scope_of(), "extensions": extensions}

    def _close(self) -> None:
        self.calls.append("close")
        self.client.leave()

    async def run(self) -> None:
        await asyncio.wait_for(self.response(self.scope, self.client.receive, self.client.send), 5)

    def start(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self.response(self.scope, self.client.receive, self.client.send))


class Unknowing(ScriptedAnswer):
    """An answer that does not know its last piece when it gives it, as a download."""

    async def __anext__(self) -> bytes:
        piece = await super().__anext__()
        self.finished = False
        return piece


async def test_an_answer_is_streamed_with_its_headers_and_a_proper_end() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", b"b\n"))
    await rig.run()
    assert rig.client.status == 200
    assert rig.client.headers["content-type"] == "application/x-ndjson"
    assert rig.client.headers["cache-control"] == "no-store"
    assert rig.client.body == b"a\nb\n"
    assert rig.client.is_complete
    assert rig.answer.closes == 1
    assert rig.calls == []


async def test_the_last_piece_and_the_end_are_one_message() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", b"b\n"))
    await rig.run()
    assert [message.get("more_body") for message in rig.client.sent[1:]] == [True, False]


async def test_an_answer_that_does_not_know_its_end_is_ended() -> None:
    rig = Rig(Unknowing(b"a\n"))
    await rig.run()
    assert rig.client.body == b"a\n"
    assert rig.client.is_complete


async def test_a_failure_in_mid_answer_is_one_error_line_and_no_end() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", ProviderTimeout("too slow")))
    await rig.run()
    assert rig.client.body == b"a\nerror: too slow\n"
    assert not rig.client.is_complete
    assert rig.calls == ["close"]
    assert rig.answer.closes == 1


async def test_without_a_way_to_close_a_failure_still_has_no_end() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", ProviderTimeout("too slow")))
    await rig.response(scope_of(), rig.client.receive, rig.client.send)
    assert rig.client.body.endswith(b"error: too slow\n")
    assert not rig.client.is_complete
    assert rig.answer.closes == 1


async def test_a_client_that_does_not_hang_up_after_a_cut_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_CUT_SECONDS", 0.02)
    rig = Rig(ScriptedAnswer(b"a\n", ProviderTimeout("too slow")))
    rig._close = lambda: rig.calls.append("close")  # type: ignore[method-assign]
    await rig.run()
    assert rig.answer.closes == 1


async def test_a_client_that_leaves_ends_the_answer_at_once() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", asyncio.Event()))
    task = rig.start()
    await settle_loop()
    rig.client.leave()
    await asyncio.wait_for(task, 1)
    assert rig.calls == ["abort"]
    assert rig.client.body == b"a\n"
    assert rig.answer.closes == 1


async def test_a_client_that_left_before_the_start_is_sent_nothing() -> None:
    rig = Rig(ScriptedAnswer(b"a\n"))
    rig.client.leave()
    await settle_loop()
    await rig.run()
    assert rig.client.sent == []
    assert rig.answer.closes == 1


async def test_a_client_that_stops_reading_is_dropped() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", b"b\n"), stall=0.03)
    rig.client.write = lambda message: hang() if message.get("body") == b"b\n" else None
    await rig.run()
    assert rig.calls == ["abort"]
    assert rig.answer.closes == 1


async def test_a_client_that_stops_reading_is_dropped_even_when_the_answer_fails() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", ProviderTimeout("too slow")), stall=0.03)
    rig.client.write = lambda message: hang() if b"error" in message.get("body", b"") else None
    task = rig.start()
    await asyncio.wait([task], timeout=1)
    is_over = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert is_over
    assert rig.answer.closes == 1


async def test_a_client_that_stops_reading_before_the_very_end_is_dropped() -> None:
    rig = Rig(Unknowing(b"a\n"), stall=0.03)
    rig.client.write = lambda message: hang() if message.get("body") == b"" else None
    task = rig.start()
    await asyncio.wait([task], timeout=1)
    is_over = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert is_over
    assert rig.answer.closes == 1


async def test_a_stop_of_the_gateway_is_told_and_stays_a_cancel() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", asyncio.Event()))
    task = rig.start()
    await settle_loop()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert b"error: the gateway is shutting down" in rig.client.body
    assert not rig.client.is_complete
    assert rig.answer.closes == 1


@pytest.mark.parametrize("error", [RuntimeError("bug"), OSError("gone")])
async def test_an_unexpected_error_still_closes_the_answer(error: Exception) -> None:
    rig = Rig(ScriptedAnswer(b"a\n", error))
    with pytest.raises(type(error)):
        await rig.run()
    assert not rig.client.is_complete
    assert rig.answer.closes == 1


async def test_a_server_that_cannot_send_still_closes_the_answer() -> None:
    rig = Rig(ScriptedAnswer(b"a\n"))

    def broken(_message: object) -> None:
        raise OSError

    rig.client.write = broken
    with pytest.raises(OSError):  # noqa: PT011 (any)
        await rig.run()
    assert rig.answer.closes == 1


async def test_pieces_go_around_the_layers_in_between() -> None:
    rig = Rig(ScriptedAnswer(b"a\n"))
    direct = Client()
    scope = rig.scope
    scope["extensions"][DIRECT_SEND] = direct.send
    await rig.response(scope, rig.client.receive, rig.client.send)
    assert [message["type"] for message in rig.client.sent] == ["http.response.start"]
    assert direct.body == b"a\n"


class TestRespond:
    """From a request to its response."""

    @staticmethod
    def opens(*results: Any) -> Any:
        found = iter(results)

        async def open_answer(body: bytes) -> Any:
            await asyncio.sleep(0)
            assert body == b"{}"
            result = next(found)
            if isinstance(result, BaseException):
                raise result
            return result

        return open_answer

    async def test_a_finished_reply_is_json(self) -> None:
        response = await respond(Client(b"{}").request(), LIMITS, self.opens(b'{"a":1}'))
        assert (response.status_code, response.body) == (200, b'{"a":1}')
        assert response.headers["content-type"] == "application/json; charset=utf-8"

    async def test_a_finished_string_is_plain_text(self) -> None:
        response = await respond(Client(b"{}").request(), LIMITS, self.opens("été\ud800"))
        assert (response.status_code, response.body) == (200, "été?".encode())
        assert response.headers["content-type"] == "text/plain; charset=utf-8"

    async def test_an_answer_nobody_wants_in_pieces_is_collected(self) -> None:
        answer = ScriptedAnswer(b"a", b"b", is_streamed=False)
        response = await respond(Client(b"{}").request(), LIMITS, self.opens(answer))
        assert response.body == b"ab"
        assert answer.closes == 1

    async def test_an_answer_is_handed_to_its_response_open(self) -> None:
        answer = ScriptedAnswer(b"a")
        client = Client(b"{}")
        response = await respond(client.request(), LIMITS, self.opens(answer))
        assert isinstance(response, AnswerResponse)
        assert answer.closes == 0
        await response(scope_of(), client.receive, client.send)
        assert client.body == b"a"

    @pytest.mark.parametrize("error", [ProviderTimeout("slow"), InvalidRequest("no"), RuntimeError("bug")])
    async def test_an_error_before_the_first_byte_leaves_as_it_is(self, error: Exception) -> None:
        with pytest.raises(type(error)):
            await respond(Client(b"{}").request(), LIMITS, self.opens(error))

    async def test_an_uncollectable_answer_keeps_its_status_and_is_closed(self) -> None:
        answer = ScriptedAnswer(b"a", ProviderTimeout("slow"), is_streamed=False)
        with pytest.raises(GatewayError) as caught:
            await respond(Client(b"{}").request(), LIMITS, self.opens(answer))
        assert caught.value.status == 504
        assert answer.closes == 1

    async def test_a_client_that_leaves_while_the_answer_opens_cancels_it(self) -> None:
        client = Client(b"{}")
        cancelled = asyncio.Event()

        async def never(_body: bytes) -> bytes:
            try:
                await hang()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        task = asyncio.create_task(respond(client.request(), LIMITS, never))
        await settle_loop()
        client.leave()
        with pytest.raises(ClientGone):
            await task
        assert cancelled.is_set()

    async def test_a_client_that_leaves_while_an_answer_is_collected_closes_it(self) -> None:
        client = Client(b"{}")
        answer = ScriptedAnswer(b"a", asyncio.Event(), is_streamed=False)
        task = asyncio.create_task(respond(client.request(), LIMITS, self.opens(answer)))
        await settle_loop()
        client.leave()
        with pytest.raises(ClientGone):
            await task
        assert answer.closes == 1

    async def test_a_body_that_is_refused_opens_nothing(self) -> None:
        def forbidden(_body: bytes) -> Iterable[Any]:
            raise AssertionError

        with pytest.raises(PayloadTooLarge):
            await respond(Client(b"x" * (LIMIT + 1)).request(), LIMITS, forbidden)  # type: ignore[arg-type]


ENDED = NotAuthenticated("your access was ended")


async def test_a_caller_who_may_not_go_on_is_told_and_cut() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", asyncio.Event()))
    task = rig.start()
    await settle_loop()
    rig.watch.cut(ENDED)
    rig.watch.cut(ENDED)
    await asyncio.wait_for(task, 5)
    assert rig.client.body == b"a\nerror: your access was ended\n"
    assert not rig.client.is_complete
    assert (rig.calls, rig.answer.closes) == (["close"], 1)


async def test_a_caller_cut_before_the_start_gets_a_status_of_their_own() -> None:
    rig = Rig(ScriptedAnswer(b"a\n"))
    rig.watch.cut(ENDED)
    with pytest.raises(NotAuthenticated):
        await rig.run()
    assert rig.client.sent == []
    assert rig.answer.closes == 1


async def test_a_cut_does_not_wait_for_a_client_that_does_not_read() -> None:
    rig = Rig(ScriptedAnswer(b"a\n", asyncio.Event()), stall=60)
    rig.client.write = lambda message: hang() if b"error" in message.get("body", b"") else None
    task = rig.start()
    await settle_loop()
    rig.watch.cut(ENDED)
    await asyncio.wait_for(task, 5)
    assert (rig.calls, rig.answer.closes) == (["abort"], 1)


@pytest.mark.parametrize("answer", [ScriptedAnswer(b"a\n"), Unknowing(b"a\n")])
async def test_a_cut_adds_nothing_to_an_answer_that_is_whole(answer: ScriptedAnswer) -> None:
    rig = Rig(answer)
    released = asyncio.Event()
    last = b"a\n" if type(answer) is ScriptedAnswer else b""
    rig.client.write = lambda message: released.wait() if message.get("body") == last else None
    task = rig.start()
    await settle_loop()
    rig.watch.cut(ENDED)
    await asyncio.wait_for(task, 5)
    assert b"error" not in rig.client.body
    assert rig.calls == ["close"]


async def test_a_request_is_tracked_until_its_response_is_over() -> None:
    tracked: list[object] = []
    client = Client()

    def track(cut: object) -> Any:
        tracked.append(cut)
        return lambda: tracked.remove(cut)

    request = client.request()
    request.state.track = track

    async def opened(_body: bytes) -> ScriptedAnswer:
        return ScriptedAnswer(b"a\n")

    response = await respond(request, LIMITS, opened)
    assert len(tracked) == 1
    await response(request.scope, client.receive, client.send)
    assert tracked == []
