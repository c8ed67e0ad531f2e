"""Ids of tool calls as Mistral's tokenizers want them: nine letters or digits, on their platform and on vLLM."""

import hashlib
import re

_VALID = re.compile(r"[A-Za-z0-9]{9}", re.ASCII)
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def mint_id(original: str, message: int, call: int) -> str:
    """Return the original id if it is a valid one, else nine characters derived from it (or from its place)."""
    if _VALID.fullmatch(original):
        return original
    number = int.from_bytes(hashlib.sha256((original or f"{message}:{call}").encode()).digest()[:8])
    digits = []
    for _ in range(9):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(digits)
