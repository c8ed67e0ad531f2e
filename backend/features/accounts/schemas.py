"""What the routes of accounts read and write; nothing here holds a secret once it is kept."""

import re
import uuid
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StringConstraints

from backend.features.accounts.email import Email
from backend.features.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from backend.features.accounts.trigramme import Trigramme
from backend.features.auth.principal import Permission
from backend.web.side_api import Body, Reply

_ROLE_NAME = "^[a-z0-9][a-z0-9_-]{0,59}$"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


def _role_name(text: str) -> str:
    if not re.fullmatch(_ROLE_NAME, text):
        raise ValueError(
            "a role's name has 1 to 60 letters a to z, digits, - and _, and begins with a letter or a digit"
        )
    return text


def _long_enough(secret: SecretStr) -> SecretStr:
    if not MIN_LENGTH <= len(secret.get_secret_value()) <= MAX_LENGTH:
        raise ValueError(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    return secret


def _whole(secret: SecretStr) -> SecretStr:
    """Refuse half of a character, which JSON can write and nothing can hash."""
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("must hold whole characters only") from None
    return secret


class Secretive(Body):
    """A body with a password, of which spaces are a part."""

    model_config = ConfigDict(str_strip_whitespace=False)


NewPassword = Annotated[
    SecretStr,
    AfterValidator(_long_enough),
    AfterValidator(_whole),
    Field(json_schema_extra={"minLength": MIN_LENGTH, "maxLength": MAX_LENGTH}),
]
GivenPassword = Annotated[SecretStr, Field(max_length=MAX_LENGTH), AfterValidator(_whole)]
Name = Annotated[str, StringConstraints(max_length=120, strip_whitespace=True), AfterValidator(_printable)]
RoleName = Annotated[str, AfterValidator(_role_name), Field(json_schema_extra={"pattern": _ROLE_NAME})]
Description = Annotated[str, StringConstraints(max_length=300), AfterValidator(_printable)]
OpaqueToken = Annotated[SecretStr, Field(max_length=100), AfterValidator(_whole)]


class Registration(Secretive):
    """A new account."""

    email: Email
    password: NewPassword
    name: Name = ""
    trigramme: Trigramme | None = None


class Login(Secretive):
    """Who wants to log in."""

    email: Annotated[str, StringConstraints(max_length=254, strip_whitespace=True, to_lower=True)]
    password: GivenPassword


class Refresh(Body):
    """A refresh token to exchange."""

    refresh_token: OpaqueToken


class Bootstrap(Registration):
    """The first administrator, and the one-time token that allows it."""

    token: OpaqueToken


class OwnUpdate(Secretive):
    """What people change about themselves; a new password needs the old one."""

    name: Name | None = None
    password: NewPassword | None = None
    current_password: GivenPassword | None = None


class UserCreate(Registration):
    """A user made by an administrator."""

    role: RoleName = "user"


class UserUpdate(Body):
    """What administrators change about a user."""

    name: Name | None = None
    email: Email | None = None
    role: RoleName | None = None
    is_active: bool | None = None


class PasswordReset(Secretive):
    """A user's new password."""

    password: NewPassword


class RoleCreate(Body):
    """A new role."""

    name: RoleName
    description: Description = ""
    permissions: frozenset[Permission]


class RoleUpdate(Body):
    """What changes about a role."""

    name: RoleName | None = None
    description: Description | None = None
    permissions: frozenset[Permission] | None = None


class TokenReply(Reply):
    """What somebody who has logged in is given."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int


class Told(Reply):
    """One sentence."""

    detail: str


class RoleRead(Reply):
    """A role."""

    id: uuid.UUID
    name: str
    description: str
    permissions: list[str]
    is_built_in: bool
    created_at: datetime
    updated_at: datetime


class RoleOfUser(Reply):
    """Which role a user has."""

    id: uuid.UUID
    name: str


class UserRead(Reply):
    """A user."""

    id: uuid.UUID
    email: str
    name: str
    trigramme: str
    role: RoleOfUser
    is_active: bool
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime


class MeRead(UserRead):
    """One's own account, with what one may do."""

    permissions: tuple[str, ...] = ()


class SessionRead(Reply):
    """A device on which somebody is logged in."""

    id: uuid.UUID
    user_id: uuid.UUID
    device: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    is_current: bool = False
