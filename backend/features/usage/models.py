"""The tables of use: one row per request, the limits of users, and what was used of each limit today."""

import uuid
from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db.tables import Row, Table, utc_now

OPEN, LOST = "open", "lost"
"""The states that are not the last: a request under way, and one whose end nobody has told (yet)."""

_ERASED = text("of_account and user_id is null")


class UsageEntry(Row):
    """One request. When its user is erased the row stays for the sums, without anything that leads to them."""

    __tablename__ = "usage_entries"
    __table_args__ = (
        Index("ix_usage_entries_user_id_at", "user_id", "at"),
        Index(
            "ix_usage_entries_open",
            "at",
            sqlite_where=text("status = 'open'"),
            postgresql_where=text("status = 'open'"),
        ),
        Index("ix_usage_entries_erased", "id", sqlite_where=_ERASED, postgresql_where=_ERASED),
    )

    request_id: Mapped[str] = mapped_column(String(64), default="")
    at: Mapped[datetime] = mapped_column(index=True)
    """When it began."""
    day: Mapped[date]
    """Its day in UTC: the window of the quotas that it counts for."""
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
    status: Mapped[str] = mapped_column(String(12))
    """`open`, then how it ended (`ok`, `error`, `interrupted`), or `lost` when the gateway died meanwhile."""
    kind: Mapped[str] = mapped_column(String(16))
    """`chat`, `completion`, `embed` or `transcription`."""
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), default=None)
    of_account: Mapped[bool] = mapped_column(default=False)
    """Whether somebody with an account asked; without a `user_id` they were erased and the row is not cleared yet."""
    key_id: Mapped[str | None] = mapped_column(String(64), default=None)
    """By which credential they were known, as `Principal.key_id`."""
    agent_id: Mapped[str | None] = mapped_column(String(64), default=None)
    model: Mapped[str] = mapped_column(String(610))
    """The name that was asked for, written in full."""
    backend: Mapped[str] = mapped_column(String(100), default="")
    backend_model: Mapped[str] = mapped_column(String(610), default="")
    estimate: Mapped[int] = mapped_column(BigInteger, default=0)
    """Tokens of the prompt as guessed before: what a lost request is charged."""
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)
    """Tokens held back in each of `subjects` while the request is open."""
    subjects: Mapped[str] = mapped_column(String(200), default="")
    """The quotas it counts for, while it is open; see `QuotaWindow.subject`."""
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    completion_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cost: Mapped[int | None] = mapped_column(BigInteger, default=None)
    """In millionths of `currency`; None where no price is known."""
    currency: Mapped[str] = mapped_column(String(3), default="")
    ms: Mapped[int | None] = mapped_column(BigInteger, default=None)
    first_token_ms: Mapped[int | None] = mapped_column(BigInteger, default=None)


class UserQuota(Table):
    """What an administrator said about one user; None means no limit, whatever the settings say."""

    __tablename__ = "quotas"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    tokens_per_day: Mapped[int | None] = mapped_column(BigInteger, default=None)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class QuotaWindow(Table):
    """What was used of one quota on one day in UTC."""

    __tablename__ = "quota_windows"

    subject: Mapped[str] = mapped_column(String(90), primary_key=True)
    """`user-<id>` or the id of a key."""
    day: Mapped[date] = mapped_column(primary_key=True)
    spent: Mapped[int] = mapped_column(BigInteger, default=0)
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)
    """Held back for requests under way."""
