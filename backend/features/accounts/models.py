"""The tables of users, roles and sessions."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.core.db.tables import Dated, Row, Table, utc_now

ADMIN, USER = "admin", "user"
"""The roles that are always there."""


class Role(Dated, Row):
    """A named set of permissions."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(String(60), unique=True)
    description: Mapped[str] = mapped_column(String(300), default="")
    permissions: Mapped[list[Any]] = mapped_column(default=list)
    """Values of `features.auth.principal.Permission`."""
    is_built_in: Mapped[bool] = mapped_column(default=False)


class User(Dated, Row):
    """Somebody with an account."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("length(trigramme) = 3", name="trigramme_length"),)

    email: Mapped[str] = mapped_column(String(254), unique=True)
    """In lower case."""
    name: Mapped[str] = mapped_column(String(120), default="")
    trigramme: Mapped[str] = mapped_column(String(3), unique=True)
    """Three lower-case letters; the namespace of the user's agents."""
    password_hash: Mapped[str | None] = mapped_column(String(300), default=None)
    """argon2id; None for an account that only logs in elsewhere (OIDC)."""
    oidc_subject: Mapped[str | None] = mapped_column(String(300), unique=True, default=None)
    """`issuer|sub`, once the account is tied to one."""
    role_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("roles.id", ondelete="RESTRICT"), index=True)
    role: Mapped[Role] = relationship(lazy="joined", innerjoin=True)
    is_active: Mapped[bool] = mapped_column(default=True)
    token_version: Mapped[int] = mapped_column(default=0)
    """Counted up to end every access token at once: suspension, new password, new role."""
    last_login_at: Mapped[datetime | None] = mapped_column(default=None)


class Session(Row):
    """One device on which somebody is logged in; holds a family of refresh tokens."""

    __tablename__ = "sessions"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    device: Mapped[str] = mapped_column(String(200), default="")
    """What the client calls itself (its User-Agent), shown so that people know which device it is."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_used_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)


class RefreshToken(Table):
    """One refresh token by its hash; using one makes its successor, using it again ends the session."""

    __tablename__ = "refresh_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None] = mapped_column(default=None)


class BootstrapToken(Table):
    """The one-time right to make the first administrator, by its hash."""

    __tablename__ = "bootstrap_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None] = mapped_column(default=None)
