"""Settings of accounts and of logging in."""

from typing import Literal

from pydantic import Field

from backend.core.config_types import Domains, Group, Issuer, Secret, Words


class AccountSettings(Group):
    """Accounts and logging in."""

    forwarded_user_secret: Secret | None = Field(
        None,
        description="What Open WebUI signs its users' headers with (its FORWARD_USER_INFO_HEADER_JWT_SECRET). With it, "
        "headers without a signature name nobody. Only keys with the permission users:delegate are asked for users.",
    )
    unknown_forwarded_users: Literal["refuse", "key"] = Field(
        "key",
        description="What becomes of requests for a user without an account here: refused, or served as the key's own.",
    )
    registration: Literal["open", "closed"] = Field(
        "closed", description="Whether anybody may make an account; closed means that administrators make them."
    )
    attempts_per_minute: int = Field(5, gt=0, description="Failed logins to one account from one address in a minute.")
    attempts_per_hour: int = Field(20, gt=0, description="Failed logins to one account from one address in an hour.")
    account_attempts_per_minute: int = Field(
        30, gt=0, description="Failed logins to one account from all addresses in a minute."
    )
    account_attempts_per_hour: int = Field(
        200, gt=0, description="Failed logins to one account from all addresses in an hour."
    )
    address_attempts_per_minute: int = Field(20, gt=0, description="Logins from one address in a minute.")
    address_attempts_per_hour: int = Field(200, gt=0, description="Logins from one address in an hour.")


class OidcSettings(Group):
    """Logging in with a login provider (OpenID Connect); on as soon as the issuer is set."""

    issuer: Issuer | None = Field(
        None,
        description="Address of the provider, exactly as its discovery document names it. Needs the client's id and "
        "secret, and GATEWAY_SERVER__PUBLIC_URL: register its /api/v1/auth/oidc/callback as the redirect address.",
    )
    client_id: str = Field("", max_length=256, description="The gateway's id at the provider.")
    client_secret: Secret | None = Field(None, description="The gateway's secret at the provider.")
    scopes: Words = Field(("openid", "email", "profile"), description="What is asked for, comma separated.")
    create_users: bool = Field(
        False,
        description="Make an account with the role `user` for whoever logs in with a verified email and has none. An "
        "account that is there is tied to them by that email, but only while registration is closed.",
    )
    allowed_domains: Domains = Field(
        (),
        description="Domains of the verified email addresses that may log in this way, comma separated; unset for all.",
    )
