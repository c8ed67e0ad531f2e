"""Reads what a message says: text, or parts of text and images."""

import re
from typing import Any

from backend.core.errors import InvalidRequest
from backend.llm.types import ContentPart, ImagePart, TextPart
from backend.wire.images import read_image

_DATA_URL = re.compile(r"data:(?:image/[a-z0-9.+-]{1,40})?;base64,", re.ASCII | re.IGNORECASE)
_LINK = re.compile(r"https?://", re.ASCII | re.IGNORECASE)


def read_content(content: Any) -> tuple[ContentPart, ...]:
    """Return the content of one message, part by part; raise `InvalidRequest` for what cannot be read."""
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    if not isinstance(content, list):
        raise InvalidRequest("message content must be a string or a list of parts")
    parts = (_read_part(part) for part in content)
    return tuple(part for part in parts if isinstance(part, ImagePart) or part.text)


def _read_part(part: Any) -> ContentPart:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return TextPart(part[kind])
    if kind == "image_url":
        source = part.get("image_url")
        url = source.get("url") if isinstance(source, dict) else source
        if isinstance(url, str):
            return read_image_url(url)
    if kind == "input_audio":
        raise InvalidRequest("audio in messages is not supported here; send text or images")
    raise InvalidRequest("invalid message format; a part is text with 'text' or image_url with 'image_url'")


def read_image_url(url: str) -> ImagePart:
    """Return the image of a `data:` URL; nothing is fetched on a caller's word."""
    if _LINK.match(url):
        raise InvalidRequest("image URLs are not currently supported, please use base64 encoded data instead")
    head = _DATA_URL.match(url)
    if head is None:
        raise InvalidRequest("invalid image input")
    return read_image(url[head.end() :])
