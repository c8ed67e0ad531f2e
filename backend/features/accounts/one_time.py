"""Opaque tokens: 256 random bits that are shown once and kept as a hash."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode

_BYTES = 32
_MAX_LENGTH = 100


def new_token(prefix: str) -> str:
    """Return a fresh token; its prefix tells people and log filters what it is."""
    return prefix + secrets.token_urlsafe(_BYTES)


def next_token(prefix: str, token: str, key: bytes) -> str:
    """Return the one successor of a token, which nobody finds without the key.

    So a lost reply can be given again although only hashes are kept.
    """
    made = hmac.digest(key, token.encode(), "sha256")
    return prefix + urlsafe_b64encode(made).rstrip(b"=").decode()


def token_hash(token: str) -> str:
    """Return what is kept of a token; a slow hash would add nothing to 256 random bits."""
    return hashlib.sha256(token[:_MAX_LENGTH].encode("utf-8", "surrogateescape")).hexdigest()
