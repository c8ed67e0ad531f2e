"""Settings of accounts and of logging in."""

from typing import Literal

from pydantic import Field

from backend.core.config_types import BaseUrl, Group, Secret, Words


class AccountSettings(Group):
    """Accounts and logging in."""

    registration: Literal["open", "closed"] = Field(
        "closed", description="Whether anybody may make an account; closed means that administrators make them."
    )
    attempts_per_minute: int = Field(5, gt=0, description="Failed logins to one account in a minute.")
    attempts_per_hour: int = Field(20, gt=0, description="Failed logins to one account in an hour.")
    address_attempts_per_minute: int = Field(20, gt=0, description="Logins from one address in a minute.")
    address_attempts_per_hour: int = Field(200, gt=0, description="Logins from one address in an hour.")


class OidcSettings(Group):
    """Logging in with another provider (OpenID Connect); on as soon as the issuer is set."""

    issuer: BaseUrl | None = Field(None, description="Address of the provider, as its tokens name it.")
    client_id: str = Field("", description="The gateway's id at the provider.")
    client_secret: Secret | None = Field(None, description="The gateway's secret at the provider.")
    redirect_url: BaseUrl | None = Field(
        None,
        description="The gateway's own address with /api/v1/auth/oidc/callback, as registered at the provider.",
    )
    scopes: Words = Field(("openid", "email", "profile"), description="What is asked for, comma separated.")
    algorithms: Words = Field(("RS256", "ES256"), description="Signatures accepted on the provider's tokens.")
    create_users: bool = Field(False, description="Make an account for whoever logs in without one.")
