"""Digests of files on Ollama machines; they become paths there, so only what fits the grammar is ever one.

Source: `manifest/paths.go` of ollama/ollama at fb30760. Anything looser has let callers write outside the folder.
"""

import re
from dataclasses import dataclass

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class BlobDigest:
    """A checked digest; `str()` gives the one spelling that is sent on."""

    hex: str
    """64 hex digits in lower case."""

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


def parse_digest(text: str) -> BlobDigest | None:
    """Return the digest that `text` writes, or None when it does not fit the grammar."""
    match = _DIGEST.fullmatch(text)
    return None if match is None else BlobDigest(match.group(1).lower())
