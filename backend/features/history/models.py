"""The tables of chats, their messages, what is not kept, and answers that may be asked for again.

Chats and messages have a number besides their id: it grows with time, and searching needs it. What is searched lies in
indices of the database's own, made by the migration and filled by the database: see `search.py`.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db.tables import Table, utc_now

Number = BigInteger().with_variant(Integer, "sqlite")
PENDING, COMPLETE, INTERRUPTED, ERROR = "pending", "complete", "interrupted", "error"
MAX_TITLE = 200


def _where(column: str, *columns: str, is_unique: bool = False) -> Index:
    """Return an index over the rows in which a column is filled; the others cost it nothing."""
    filled = text(f"{column} IS NOT NULL")
    return Index(None, *columns, unique=is_unique, sqlite_where=filled, postgresql_where=filled)


class Chat(Table):
    """A conversation of one account."""

    __tablename__ = "chats"
    __table_args__ = (
        UniqueConstraint("id"),
        _where("external_id", "user_id", "external_id", is_unique=True),
        _where("agent_id", "agent_id"),
        Index(None, "user_id", "updated_at", "number"),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(MAX_TITLE), default="")
    agent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("agents.id", ondelete="SET NULL"))
    model: Mapped[str] = mapped_column(String(600), default="")
    """The name that was asked for last."""
    external_id: Mapped[str | None] = mapped_column(String(100), default=None)
    """The client's own id of it, unique among the user's."""
    last_seq: Mapped[int] = mapped_column(default=0)
    last_turn_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, default=None)
    """The last message that is not an answer."""
    last_answer_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, default=None)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class StoredMessage(Table):
    """One message of a chat; an answer is `pending` from before its backend is asked until it ends."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("chat_id", "seq"),
        Index(None, "id"),
        _where("prefix_hash", "prefix_hash", "number"),
        Index(
            "ix_messages_pending",
            "created_at",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    chat_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    """The chat's; searching needs it here."""
    seq: Mapped[int]
    """Grows within a chat, without gaps as long as nothing is removed."""
    parent_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, default=None)
    """The message it follows: turns that were edited and answers that were asked for again share one."""
    role: Mapped[str] = mapped_column(String(10))
    content: Mapped[str] = mapped_column(Text, default="")
    thinking: Mapped[str] = mapped_column(Text, default="")
    tool_calls: Mapped[list[Any]] = mapped_column(default=list)
    """Calls of an answer: `{"id", "name", "arguments"}` each; on a tool's turn `{"id", "name"}` of what it answers."""
    llm_model: Mapped[str | None] = mapped_column(String(600), default=None)
    """The backend's own id of the model that answered."""
    llm_provider: Mapped[str | None] = mapped_column(String(100), default=None)
    """The backend that answered."""
    status: Mapped[str] = mapped_column(String(12), default=COMPLETE)
    error: Mapped[str | None] = mapped_column(String(500), default=None)
    """The sentence the caller was told."""
    sources: Mapped[list[Any]] = mapped_column(default=list)
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    ms: Mapped[int | None]
    """How long the answer took."""
    prefix_hash: Mapped[bytes | None] = mapped_column(LargeBinary(16), default=None)
    """The fingerprint of the conversation up to and with this message; by it a client's next request is recognised."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


class HistorySwitch(Table):
    """A key or an agent whose conversations are not kept."""

    __tablename__ = "history_switches"

    subject_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    """`key` or `agent`."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class KeptReply(Table):
    """The reply to a request that carried an `Idempotency-Key`, given again for a day."""

    __tablename__ = "kept_replies"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    chat_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), index=True)
    reply: Mapped[str | None] = mapped_column(Text, default=None)
    """None while it is being answered."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
