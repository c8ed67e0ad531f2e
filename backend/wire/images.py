"""Checks images as clients send them: bare base64, no `data:` prefix, the type read from the bytes."""

import base64
import binascii
import re

from backend.core.errors import InvalidRequest
from backend.llm.types import ImagePart

_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_HEAD = 24
_ALPHABET = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
_BREAKS = str.maketrans("", "", "\r\n")


def read_image(text: str, *, lenient: bool = False) -> ImagePart:
    """Return the image; raise `InvalidRequest` for what is not base64 or not PNG, JPEG, GIF or WebP.

    `lenient` lets other types through, for a backend that judges them itself (sound travels as an image too).
    """
    data = text.translate(_BREAKS)
    match = _ALPHABET.match(data)
    end = match.end() if match else 0
    if end != len(data) or len(data) % 4:
        raise InvalidRequest(f"illegal base64 data at input byte {min(end, len(data))}")
    try:
        head = base64.b64decode(data[:_HEAD])
    except binascii.Error:
        raise InvalidRequest("illegal base64 data at input byte 0") from None
    return ImagePart(data, _media_type(head, lenient=lenient))


def _media_type(head: bytes, *, lenient: bool) -> str:
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if lenient:
        return "application/octet-stream"
    raise InvalidRequest("this image cannot be read; send PNG, JPEG, GIF or WebP as base64")
