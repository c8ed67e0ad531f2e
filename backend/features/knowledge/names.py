"""What documents are called: a text for people, never a path."""

import unicodedata
from pathlib import PurePosixPath

from backend.features.knowledge.composed import composed

MAX_FILENAME = 255
_NAMELESS = "document"


def clean_filename(given: str) -> str:
    """Return a file's name in the form that is kept: its last part, without what is not seen or turns text around."""
    last = composed("NFC", given).replace("\\", "/").rpartition("/")[2]
    seen = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C")
    name = " ".join(seen.split()).strip(". ")
    suffix = PurePosixPath(name).suffix[:16]
    if len(name) > MAX_FILENAME:
        name = name[: MAX_FILENAME - len(suffix)] + suffix
    return name or _NAMELESS


def title_of(filename: str) -> str:
    """Return a document's title, under which its passages are found too."""
    return PurePosixPath(filename).stem.replace("_", " ")
