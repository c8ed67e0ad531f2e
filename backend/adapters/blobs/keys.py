"""Keys of files: ids and words with slashes between them, and so fit for a folder and for an address."""

import re

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:/[A-Za-z0-9][A-Za-z0-9-]*)*", re.ASCII)


def checked_key(key: str) -> str:
    """Return the key; raise `ValueError` for anything that could lead elsewhere."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key")
    return key
