"""Masks what looks like a credential in text that comes from outside; the last net, not the first."""

import re

_SECRET = re.compile(
    r"(?i)(\b(?:sk|gw|pk)-[A-Za-z0-9_-]{6,}|\bbearer\s+\S+|\bapi[_-]?key\s*[=:]\s*\S+|\beyJ[A-Za-z0-9_-]{10,}\.\S+)"
)


def mask(text: str) -> str:
    """Return `text` with everything that looks like a credential masked."""
    return _SECRET.sub("[masked]", text)
