"""What a request shows of its caller; a pure function, so that every carrier is read in one place and one way.

| carrier | read as |
|---|---|
| `Authorization: Bearer <key>`, `x-api-key: <key>` | the key |
| `Authorization: Basic ...` | its password; the user name says nothing |
| `/k/<key>/...` | the key, taken out of the path by `backend.web.path_key` |
| `Authorization: <public key>:<signature>` and `?ts=` | a request signed by `ollama` with `OLLAMA_AUTH=1` |

Many clients cannot leave a key out and send a word in its place; those count as nothing. Other schemes, cookies and
query strings are never read: a key in a query would stand in every log on the way.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from backend.core.errors import InvalidRequest
from backend.web.path_key import PATH_KEY

PLACEHOLDERS = frozenset(
    {
        *("ollama", "api-key-not-set", "no-key", "nokey", "no-key-required", "sk-no-key-required", "no-api-key"),
        *("not-needed", "not-required", "none", "null", "undefined", "empty", "dummy", "placeholder", "lm-studio"),
    }
)
"""What clients send where the user set no key, in lower case; all are shorter than any key that is accepted."""

_UNUSABLE = ""
"""Stands for a credential that can belong to nobody, so that it is not taken for none."""
_MAX_CREDENTIAL = 4_096
_SIGNED = re.compile(r"([A-Za-z0-9+/]{68}):([A-Za-z0-9+/]{86}==)", re.ASCII)
_TIME = re.compile(rb"ts=([0-9]{1,12})")
_KEY_NAMES = frozenset({"key", "api_key", "apikey", "api-key", "x-api-key", "token", "access_token", "authorization"})


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that its caller signed with a key pair of their own."""

    public_key: str
    """Base64 of the key in SSH's form: the second word of `id_ed25519.pub`."""
    signature: bytes
    message: bytes
    """What the signature must fit."""
    seconds: int | None
    """When it was signed, in Unix time; None when the request does not say."""


def read_credential(scope: Mapping[str, Any]) -> str | SignedRequest | None:
    """Return the one credential of a request: a key, a signature, or None.

    Raises `InvalidRequest` for two that differ: whoever checks only one of them can be shown the other.
    """
    shown = set(_shown(scope))
    if len(shown) > 1:
        raise InvalidRequest("the request shows two different credentials; send the one that is meant and no other")
    return shown.pop() if shown else None


def shows_key_in_query(query: bytes) -> bool:
    """Whether a query string holds a parameter that looks like a key; such a query is never repeated."""
    names = {name.lower() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    return not names.isdisjoint(_KEY_NAMES)


def _shown(scope: Mapping[str, Any]) -> Iterator[str | SignedRequest]:
    path_key = scope.get("extensions", {}).get(PATH_KEY)
    if path_key is not None:
        yield from _key(path_key) if path_key else (_UNUSABLE,)
    for name, value in scope["headers"]:
        if name == b"authorization":
            yield from _authorization(value.decode("latin-1").strip(), scope)
        elif name == b"x-api-key":
            yield from _key(value.decode("latin-1"))


def _authorization(value: str, scope: Mapping[str, Any]) -> Iterator[str | SignedRequest]:
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "bearer":
        yield from _key(rest)
    elif scheme.lower() == "basic":
        yield from _password(rest)
    elif (signed := _SIGNED.fullmatch(value)) is not None:
        yield _signed_request(signed[1], signed[2], scope)


def _key(text: str) -> Iterator[str]:
    key = text.strip()
    if key and key.lower() not in PLACEHOLDERS:
        yield key if len(key) <= _MAX_CREDENTIAL else _UNUSABLE


def _password(encoded: str) -> Iterator[str]:
    if len(encoded) > _MAX_CREDENTIAL:
        yield _UNUSABLE
        return
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        yield _UNUSABLE
    else:
        yield from _key(pair.partition(":")[2])


def _signed_request(public_key: str, signature: str, scope: Mapping[str, Any]) -> SignedRequest:
    """Return what was signed: method, path and query as the client wrote them, without a key's prefix."""
    query: bytes = scope["query_string"]
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    time = _TIME.fullmatch(query)
    return SignedRequest(
        public_key,
        base64.b64decode(signature),
        b"%s,%s?%s" % (scope["method"].encode(), path, query),
        None if time is None else int(time[1]),
    )
