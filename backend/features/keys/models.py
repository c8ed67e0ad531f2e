"""The tables of API keys and public keys."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db.tables import Dated, Row, utc_now


class ApiKey(Dated, Row):
    """An API key by its hash; the key itself was shown once and is not kept.

    SHA-256 without salt or pepper is enough for 256 random bits: there is nothing to guess or to look up in a table.
    """

    __tablename__ = "api_keys"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(20))
    """Its prefix and last four characters, by which people know it again."""
    permissions: Mapped[list[Any] | None] = mapped_column(default=None)
    """What it may do, never more than its owner; None means all the owner may."""
    models: Mapped[list[Any] | None] = mapped_column(default=None)
    """Names of the models it may use; None means all the owner may."""
    networks: Mapped[list[Any] | None] = mapped_column(default=None)
    """Networks (CIDR) it may be used from; None means any."""
    requests_per_minute: Mapped[int | None] = mapped_column(default=None)
    tokens_per_day: Mapped[int | None] = mapped_column(default=None)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
    """Written at most once a minute."""
    created_with: Mapped[uuid.UUID | None] = mapped_column(default=None, index=True)
    """The key it was made or last renewed with, and with which it is revoked; None when it was done in another way."""
    previous_hash: Mapped[str | None] = mapped_column(String(64), unique=True, default=None)
    """The hash of the key this one replaced, while that one is still good."""
    previous_until: Mapped[datetime | None] = mapped_column(default=None)


class PublicKey(Row):
    """A registered ed25519 key with which the `ollama` command signs its requests."""

    __tablename__ = "public_keys"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    blob: Mapped[str] = mapped_column(String(120), unique=True)
    """The second word of `id_ed25519.pub`: base64 of the SSH wire form."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
