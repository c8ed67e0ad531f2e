"""Settings of knowledge: what documents may cost."""

from typing import Literal

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
    ocr: Literal["off", "auto", "tesseract", "mistral"] = Field(
        "auto",
        description="What reads scans and pictures: auto is tesseract where that program is installed, else nothing. "
        "mistral sends them to Mistral's API, so these documents leave the house; it is never chosen by itself.",
    )
    ocr_languages: str = Field(
        "fra+eng",
        pattern=r"^[A-Za-z0-9_]{2,30}(\+[A-Za-z0-9_]{2,30}){0,7}$",
        description="Languages that tesseract looks for, as it names them; each must be installed.",
    )
    ocr_pages: int = Field(200, gt=0, le=1000, description="Scanned pages that are read of one document.")
    ocr_model: str = Field(
        "mistral-ocr-latest",
        min_length=1,
        max_length=200,
        description="Mistral's model for GATEWAY_KNOWLEDGE__OCR=mistral.",
    )
