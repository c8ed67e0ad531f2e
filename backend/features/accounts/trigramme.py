"""Three lower-case letters that stand for a user in the names of their agents."""

import itertools
import string
import unicodedata
from collections.abc import Iterator
from typing import Annotated

from pydantic import StringConstraints

Trigramme = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}$", strip_whitespace=True)]

_LENGTH = 3


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
