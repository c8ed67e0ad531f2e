"""Three lower-case letters that stand for a user in the names of their agents."""

import itertools
import re
import string
import unicodedata
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

_LENGTH = 3
_PATTERN = f"^[a-z]{{{_LENGTH}}}$"


def _checked(text: str) -> str:
    if not re.fullmatch(_PATTERN, text):
        raise ValueError("a trigramme is three letters a to z")
    return text


Trigramme = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_checked),
    Field(json_schema_extra={"pattern": _PATTERN}),
]


def proposals(name: str, email: str) -> Iterator[str]:
    """Yield every trigramme there is, those that look like a name first."""
    words = _words(name) or _words(email.partition("@")[0]) or ["x"]
    letters = "".join(words)
    if len(words) >= _LENGTH:
        yield "".join(word[0] for word in words[:_LENGTH])
    elif len(words) > 1 and len(words[1]) > 1:
        yield words[0][0] + words[1][:2]
    if len(letters) >= _LENGTH:
        yield letters[:_LENGTH]
        for second, third in itertools.combinations(letters[1:40], 2):
            yield letters[0] + second + third
    for rest in itertools.product(string.ascii_lowercase, repeat=_LENGTH - 1):
        yield letters[0] + "".join(rest)
    for every in itertools.product(string.ascii_lowercase, repeat=_LENGTH):
        yield "".join(every)


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text).lower()
    kept = "".join(
        letter if letter in string.ascii_lowercase else "" if unicodedata.combining(letter) or letter == "'" else " "
        for letter in plain
    )
    return kept.split()
