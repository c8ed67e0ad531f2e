"""What an answer stands on: the passages and memories that were put before the question, and how they were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SourceKind = Literal["document", "memory"]

Mode = Literal["keyword", "hybrid", "whole", "none"]
"""How passages were found: by words, by words and vectors, not at all because whole documents fit, or none were put."""


@dataclass(frozen=True, slots=True)
class Source:
    """A passage, a whole document, or an earlier exchange that the model was given."""

    number: int
    """What the answer cites: `[1]`."""
    document_id: str
    """Of a memory its own id."""
    title: str
    page: int | None = None
    """Its first page; None for a whole document."""
    score: float | None = None
    """Higher is better among what was found for one question; None for a whole document."""
    kind: SourceKind = "document"


@dataclass(frozen=True, slots=True)
class Grounding:
    """What stood before the model beside the conversation, to be told with the answer and kept with it."""

    sources: tuple[Source, ...]
    mode: Mode
    ms: int
    """How long finding it took."""
    note: str = ""
    """One sentence where something was left out or failed; never from a document."""


def write_grounding(grounding: Grounding | None) -> dict[str, Any]:
    """Return the field `rag` that every wire format tells a grounding in; nothing without one."""
    if grounding is None:
        return {}
    told: dict[str, Any] = {
        "sources": write_sources(grounding.sources),
        "mode": grounding.mode,
        "ms": grounding.ms,
    }
    return {"rag": {**told, "note": grounding.note} if grounding.note else told}


def write_sources(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Return sources as JSON has them; what is not known is left out."""
    return [
        {
            "n": source.number,
            **_what(source),
            "title": source.title,
            **({} if source.page is None else {"page": source.page}),
            **({} if source.score is None else {"score": round(source.score, 4)}),
        }
        for source in sources
    ]


def _what(source: Source) -> dict[str, str]:
    """Return what a source is; a document's goes without saying so."""
    return (
        {"kind": "memory", "memory_id": source.document_id}
        if source.kind == "memory"
        else {"document_id": source.document_id}
    )
