"""Settings of the history of conversations."""

from pydantic import Field

from backend.core.config_types import Group


class HistorySettings(Group):
    """What is kept of conversations; only those of callers with an account ever are."""

    enabled: bool = Field(True, description="Keep conversations, for their owners alone to read, search and remove.")
    retention_days: float | None = Field(
        None, gt=0, description="Days after its last use that a chat is removed; unset means never."
    )
