"""Answers as HTTP: the status is chosen once the first bytes are there, the upstream is closed whatever happens.

A small ASGI response instead of `StreamingResponse`: a generator that never starts never runs its `finally`, and every
layer costs CPU per token. After a failure in mid-answer the client gets one error in its wire format and then a cut
connection without the last chunk: the only form that no tested client takes for success (`clients.md` 9).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.core.errors import ClientGone, GatewayError, Overloaded
from backend.core.logging import get_logger
from backend.llm.ports import Answer
from backend.web.body import BodyLimits, read_request_body
from backend.web.client import ClientWatch, Track
from backend.web.replies import empty_response, json_response, text_response

_log = get_logger(__name__)

ABORT = "passerelle.abort"
CLOSE = "passerelle.close"
"""ASGI scope extensions of `backend.web.protocol`: drop the connection at once, or after what was written."""
DIRECT_SEND = "passerelle.send"
"""ASGI scope extension of `backend.web.access`: the server's own `send`. The layers in between only look at the start
of a response, so the pieces of a stream go around them."""

_CUT_SECONDS = 1.0
_STREAM_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def respond(
    request: Request,
    limits: BodyLimits,
    open_answer: Callable[[bytes], Awaitable[Answer | bytes | str]],
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Response:
    """Read the body, open the answer and return the response that will write it; bytes are JSON, a string is text.

    The client is watched from here on: when it leaves, `open_answer` is cancelled and the upstream closed, streamed or
    not. An answer of no bytes is a reply without a body. Errors raised before the first byte leave as they are, for the
    error handler to give them their status. `headers` go with an answer that is streamed.
    """
    body = await read_request_body(request, limits)
    track: Track | None = getattr(request.state, "track", None)
    watch = ClientWatch(request.receive, limits.write_stall_seconds).start(track)
    try:
        with watch.guard():
            answer = await open_answer(body)
            if not isinstance(answer, bytes | str) and not answer.is_streamed:
                answer = await _collect(answer)
    except asyncio.CancelledError:
        # Not the client (the guard would have said so): the server is stopping and has waited long enough.
        watch.stop()
        raise Overloaded("the gateway is shutting down; try again") from None
    except BaseException:
        watch.stop()
        raise
    if isinstance(answer, bytes | str):
        watch.stop()
        if isinstance(answer, str):
            return _text(answer)
        return json_response(answer) if answer else empty_response()
    return AnswerResponse(answer, watch, headers)


def _text(reply: str) -> Response:
    return text_response(reply.encode("utf-8", "replace"), headers={"content-type": "text/plain; charset=utf-8"})


async def _collect(answer: Answer) -> bytes:
    try:
        pieces = [piece async for piece in answer]
    finally:
        await answer.aclose()
    return b"".join(pieces)


class AnswerResponse(Response):
    """Streams one answer and owns it, together with the watch on the client."""

    def __init__(self, answer: Answer, watch: ClientWatch, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__()
        self._more_headers = headers
        self._answer = answer
        self._watch = watch
        self._is_begun = False
        self._is_over = False
        """Whether the last of it was written: the end of the answer, or the error that takes its place."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (the watch receives)
        """Write the answer; see the module for what happens when it fails."""
        extensions = scope.get("extensions") or {}
        direct, close = extensions.get(DIRECT_SEND, send), extensions.get(CLOSE)
        try:
            with self._watch.guard():
                self._is_begun = True
                headers = [(b"content-type", self._answer.content_type.encode()), *_STREAM_HEADERS, *self._more_headers]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                is_whole = await self._stream_or_tell(direct)
            if not is_whole:
                await self._hang_up(close)
        except ClientGone:
            if abort := extensions.get(ABORT):
                abort()
        except GatewayError as error:
            if not self._is_begun:
                raise
            # Whoever asks may not go on.
            await self._end(direct, extensions, error)
        except asyncio.CancelledError:
            await self._end(direct, extensions, GatewayError("the gateway is shutting down; try again"))
            raise
        finally:
            self._watch.stop()
            await self._answer.aclose()

    async def _stream_or_tell(self, send: Send) -> bool:
        """Write the answer, or what came of it and the error that ended it; return whether it is whole."""
        try:
            await self._stream(send)
        except GatewayError as error:
            await self._tell(send, error)
            return False
        return True

    async def _stream(self, send: Send) -> None:
        answer, watch = self._answer, self._watch
        async for data in answer:
            self._is_over = answer.finished
            watch.sending()
            await send({"type": "http.response.body", "body": data, "more_body": not self._is_over})
            watch.sent()
        if not self._is_over:
            self._is_over = True
            await self._write(send, b"", more=False)

    async def _write(self, send: Send, data: bytes, *, more: bool) -> None:
        """Write something other than a piece of the answer, where a call more does not matter."""
        self._watch.sending()
        await send({"type": "http.response.body", "body": data, "more_body": more})
        self._watch.sent()

    async def _end(self, send: Send, extensions: Mapping[str, Callable[[], None]], error: GatewayError) -> None:
        """Tell the client, unless it has the end already, and hang up; one that does not read is not waited for."""
        try:
            async with asyncio.timeout(_CUT_SECONDS):
                if not self._is_over:
                    await self._tell(send, error)
                await self._hang_up(extensions.get(CLOSE))
        except TimeoutError:
            if abort := extensions.get(ABORT):
                abort()

    async def _tell(self, send: Send, error: GatewayError) -> None:
        """Tell the client that the answer failed."""
        self._is_over = True
        _log.warning("answer_cut", reason=error.message)
        await self._write(send, self._answer.encode_error(error), more=True)

    async def _hang_up(self, close: Callable[[], None] | None) -> None:
        """Close without the last chunk, once everything is written."""
        if close is None:
            return
        close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CUT_SECONDS):
                await self._watch.gone.wait()
