"""Reads request bodies within limits, whatever their Content-Type says."""

import asyncio
from dataclasses import dataclass

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
    for name, value in request.scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limits.body_bytes:
            raise _too_large(limits)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise InvalidRequest("compressed request bodies are not supported; send plain JSON")
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > limits.body_bytes:
                    raise _too_large(limits)
                pieces.append(piece)
    except TimeoutError:
        raise InvalidRequest(f"the request body did not arrive within {limits.body_seconds:g} s") from None
    except ClientDisconnect:
        raise ClientGone from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limits: BodyLimits) -> PayloadTooLarge:
    return PayloadTooLarge(f"the request body is over {limits.body_bytes} bytes; send less")
