"""How a key looks: `psl_`, 256 random bits as 43 letters and digits, a checksum as 6 more.

The prefix tells people and scanners what they have found, one double click marks all of it, and the checksum tells a
mistyped or invented key without a look into the store.
"""

import hashlib
import re
import secrets
import zlib
from string import ascii_lowercase, ascii_uppercase, digits

PREFIX = "psl_"

_ALPHABET = digits + ascii_uppercase + ascii_lowercase
_BITS, _BODY, _CHECK = 256, 43, 6
_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_BODY + _CHECK}}}", re.ASCII)
_SHOWN = 4


def new_key() -> str:
    """Return a fresh key."""
    body = PREFIX + _written(secrets.randbits(_BITS), _BODY)
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether a text can be one of our keys."""
    return _KEY.fullmatch(text) is not None and text.endswith(_checksum(text[:-_CHECK]))


def key_hash(key: str) -> str:
    """Return what is kept of a key; neither a slow hash nor a pepper would add anything to 256 random bits."""
    return hashlib.sha256(key.encode()).hexdigest()


def hint(key: str) -> str:
    """Return what its owner knows a key by."""
    return f"{PREFIX}…{key[-_SHOWN:]}"


def _checksum(body: str) -> str:
    return _written(zlib.crc32(body.encode()), _CHECK)


def _written(number: int, width: int) -> str:
    letters = []
    for _ in range(width):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(reversed(letters))
