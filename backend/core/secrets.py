"""Masks what looks like a credential in text that comes from outside; the last net, not the first."""

import re

_SECRET = re.compile(
    r"(?i)("
    r"\b(?:sk|gw|pk)-[A-Za-z0-9_-]{6,}"
    r"|\bpsl_[A-Za-z0-9]{6,}"  # a key of an account
    r"|\bbearer\s+\S+"
    r"|\bbasic\s+(?=[A-Za-z+/]*[0-9=])[A-Za-z0-9+/]{8,}={0,2}"
    r"|\b(?:api[_-]?key|access[_-]?token)\s*[=:]\s*\S+"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.\S+"
    r"|\b[A-Za-z0-9+/]{68}:[A-Za-z0-9+/]{86}=="  # a signed request of the `ollama` command
    r"|(?<=/k/)[^/\s?#\"']{8,}"  # a key in a path
    r"|(?<=://)[^/\s@]+@"  # user name and password in an address
    r")"
)


def mask(text: str) -> str:
    """Return `text` with everything that looks like a credential masked."""
    return _SECRET.sub("[masked]", text)
