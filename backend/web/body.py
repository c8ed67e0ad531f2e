"""Reads request bodies within limits, whatever their Content-Type says."""

import asyncio
from dataclasses import dataclass
from typing import Self

from starlette.requests import ClientDisconnect, Request

from backend.core.errors import ClientGone, InvalidRequest, PayloadTooLarge


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a request may cost before anything is done with it, and how patient we are with its sender."""

    body_bytes: int
    body_seconds: float
    write_stall_seconds: float


async def read_request_body(request: Request, limits: BodyLimits) -> bytes:
    """Return the whole body; raise `PayloadTooLarge`, or `InvalidRequest` when it does not arrive in time."""
    _check_head(request, limits.body_bytes)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > limits.body_bytes:
                    raise _too_large(limits.body_bytes)
                pieces.append(piece)
    except TimeoutError:
        raise InvalidRequest(f"the request body did not arrive within {limits.body_seconds:g} s") from None
    except ClientDisconnect:
        raise ClientGone from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class RequestPieces:
    """A request body piece by piece, as it comes: an iterator that knows its limit and notices a client that leaves.

    The server reads on from the network only while somebody asks, so a body of any size costs a few pieces of memory.
    How long a piece may take is for the one who asks to say.
    """

    def __init__(self, request: Request, limit: int) -> None:
        _check_head(request, limit)
        self._receive = request.receive
        self._limit = limit
        self._left = limit
        self._more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece; raise `PayloadTooLarge` or `ClientGone`."""
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self._more = message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            self._left -= len(piece)
            if self._left < 0:
                raise _too_large(self._limit)
            if piece:
                return piece
        raise StopAsyncIteration


def _check_head(request: Request, limit: int) -> None:
    for name, value in request.scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise InvalidRequest("compressed request bodies are not supported; send the body as it is")


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the request body is over {limit} bytes; send less")
