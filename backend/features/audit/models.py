"""The table of the audit log."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db.tables import Row, utc_now


class AuditEntry(Row):
    """One thing somebody did; never changed, never removed with what it speaks of."""

    __tablename__ = "audit_entries"

    at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    actor: Mapped[str] = mapped_column(String(100), index=True)
    """The user's id, or `key:<id>`, `operator`, `anonymous`."""
    action: Mapped[str] = mapped_column(String(60), index=True)
    """For example `user.create`, `key.revoke`."""
    object_type: Mapped[str] = mapped_column(String(40))
    object_id: Mapped[str] = mapped_column(String(100), index=True)
    request_id: Mapped[str] = mapped_column(String(64), default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Names of changed fields and harmless values; never a secret, a prompt or a password."""
    owner_id: Mapped[uuid.UUID | None] = mapped_column(default=None, index=True)
    """Whose object it was, so that one person's trail can be found."""
