"""Settings of what agents remember of earlier conversations."""

from pydantic import Field

from backend.core.config_types import Group


class MemorySettings(Group):
    """What agents remember of earlier conversations; where no history is kept, they remember nothing."""

    exchanges: int = Field(
        5_000, ge=1, le=20_000, description="Exchanges kept of one user with one agent; then the oldest ones go."
    )
    retention_days: float = Field(365, gt=0, le=36_500, description="Days after which an exchange is forgotten.")
