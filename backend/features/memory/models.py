"""The table of remembered exchanges.

Their words lie in an index of the database's own, made by the migration (`word_index.py`).
"""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db.tables import Table

Number = BigInteger().with_variant(Integer, "sqlite")


class Memory(Table):
    """A question of one user to one agent and its answer, both cut; it goes with user, agent and chat."""

    __tablename__ = "memories"
    __table_args__ = (
        UniqueConstraint("id"),
        UniqueConstraint("user_id", "agent_id", "digest"),
        Index(None, "user_id", "agent_id", "number"),
        Index(None, "user_id", "agent_id", "fingerprint", "number"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    """Grows with time and is never used twice; what the index of words knows it by."""
    id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    agent_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"), index=True)
    chat_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), index=True)
    """Where it was said; nothing is recalled there."""
    created_at: Mapped[datetime] = mapped_column(index=True)
    fingerprint: Mapped[str | None] = mapped_column(String(16), default=None)
    """Of the embedder that made the vector."""
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    """SHA-256 of question and answer, without regard to case and white space."""
    question: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)
    vector: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    """Little-endian float32, at length one; None until it is made."""
