"""The states of a document and the stages it goes through, in their order."""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from backend.features.knowledge.models import Document


class Status(StrEnum):
    """How things stand with the newest version of a document."""

    UPLOADING = "uploading"
    """Not acknowledged: its file may not be there. Nobody sees it."""
    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETING = "deleting"


UNDER_WAY = (Status.QUEUED, Status.RUNNING, Status.DELETING)
"""Somebody works on it, or is to."""
SETTLED = (Status.READY, Status.FAILED, Status.CANCELLED)
"""Nothing happens until somebody asks for it."""


class Stage(StrEnum):
    """The last stage that is done; each is committed before the next begins."""

    UPLOADED = "uploaded"
    EXTRACTED = "extracted"
    CHUNKED = "chunked"
    EMBEDDED = "embedded"
    INDEXED = "indexed"
    SWITCHED = "switched"
    """The new version is searched; what the old one left is still to be removed."""


STAGES = tuple(Stage)


@dataclass(frozen=True, slots=True)
class State:
    """What is told of a document's progress."""

    status: str
    stage: str
    progress: int
    version: int
    error: str | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in SETTLED


def state_of(document: Document) -> State:
    """Return a document's state."""
    return State(document.status, document.stage, document.progress, document.version, document.error)


def file_key(document_id: uuid.UUID, version: int) -> str:
    """Return where a version's file lies in the blob store."""
    return f"documents/{document_id}/{version}/file"


def pages_key(file: str) -> str:
    """Return where the pages read from a file lie."""
    return file.removesuffix("file") + "pages"
