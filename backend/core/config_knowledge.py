"""Settings of knowledge: what documents may cost."""

from pydantic import Field

from backend.core.config_vectors import VectorSettings


class KnowledgeSettings(VectorSettings):
    """Documents, collections, and how they are searched."""

    document_bytes: int = Field(50 * 2**20, gt=0, description="Size of one document.")
    slots: int = Field(1, ge=1, le=8, description="Documents that one process works on at the same time.")
    queued_documents: int = Field(
        500, gt=0, description="Documents of one owner that may wait or be worked on; further ones get a 429."
    )
    lease_seconds: float = Field(
        30,
        ge=1,
        description="After a process has ended without a word, how long until another takes over its documents.",
    )
