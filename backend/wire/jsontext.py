"""Writes JSON the way every client can read it, whatever it uses to split lines.

Output is compact UTF-8; U+0085, U+2028 and U+2029 are escaped because clients that split text into lines take them for
line ends. Lone surrogates, which JSON can smuggle in, become U+FFFD instead of failing.
"""

import json
from typing import Any

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding bytes from outside may raise: not JSON, not of the expected shape, not UTF-8, nested without end."""

_encode = msgspec.json.Encoder().encode
_SEPARATORS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


def encode_json(value: Any) -> bytes:
    """Return `value` as one line of JSON without a line end."""
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:
        encoded = _encode(replace_surrogates(value))
    except OverflowError:  # a whole number of more than 64 bits inside a caller's schema or arguments
        encoded = json.dumps(replace_surrogates(value), ensure_ascii=False, separators=(",", ":")).encode()
    return encoded if encoded.isascii() else escape_separators(encoded)


def quote(text: str) -> bytes:
    """Return a string as JSON; once per token, so the common case is one call."""
    try:
        quoted = _encode(text)
    except UnicodeEncodeError:
        return encode_json(text)
    return quoted if quoted.isascii() else escape_separators(quoted)


def escape_separators(encoded: bytes) -> bytes:
    """Escape the three characters that some line splitters break at; they can only stand inside strings."""
    for raw, escaped in _SEPARATORS:
        if raw in encoded:
            encoded = encoded.replace(raw, escaped)
    return encoded


def replace_surrogates(value: Any) -> Any:
    """Return `value` with every lone surrogate in its strings replaced by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {replace_surrogates(k): replace_surrogates(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_surrogates(item) for item in value]
    return value
