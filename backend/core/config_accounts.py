"""Settings of accounts and of logging in."""

from typing import Literal

from pydantic import Field

from backend.core.config_types import Group


class AccountSettings(Group):
    """Accounts and logging in."""

    registration: Literal["open", "closed"] = Field(
        "closed", description="Whether anybody may make an account; closed means that administrators make them."
    )
    attempts_per_minute: int = Field(5, gt=0, description="Failed logins to one account in a minute.")
    attempts_per_hour: int = Field(20, gt=0, description="Failed logins to one account in an hour.")
    address_attempts_per_minute: int = Field(20, gt=0, description="Logins from one address in a minute.")
    address_attempts_per_hour: int = Field(200, gt=0, description="Logins from one address in an hour.")
