"""How indices of vectors are called: what they are of, and the embedder whose vectors they hold."""

import re
import uuid
from dataclasses import dataclass
from typing import Literal

ScopeKind = Literal["kb", "agent", "chat"]
"""A collection, the documents of an agent, those of a chat."""

_NAME = re.compile(r"(kb|agent|chat)_([0-9a-f]{32})_([0-9a-f]{8})")
_SHORT = 8


@dataclass(frozen=True, slots=True)
class IndexName:
    """One index; written as `kb_<id>_<first eight of the fingerprint>`."""

    kind: ScopeKind
    scope: uuid.UUID
    fingerprint: str
    """The whole one, or its first eight characters."""

    def __str__(self) -> str:
        return f"{self.kind}_{self.scope.hex}_{self.fingerprint[:_SHORT]}"


def parse_index_name(name: str) -> IndexName | None:
    """Return what an index is of, or None for one that is not ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind: ScopeKind = "kb" if found[1] == "kb" else "agent" if found[1] == "agent" else "chat"
    return IndexName(kind, uuid.UUID(hex=found[2]), found[3])
