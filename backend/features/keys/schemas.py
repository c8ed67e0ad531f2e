"""The bodies of the routes of keys; the key itself is in the reply that makes it and in no other."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from backend.features.auth.identities import is_public_key
from backend.features.auth.principal import Permission
from backend.features.auth.rates import MOST_PER_MINUTE
from backend.features.keys.networks import network_around, parse_network
from backend.features.keys.scope import KeyDraft
from backend.llm.names import parse_name
from backend.web.side_api import Body, Reply

DEFAULT_DAYS, MAX_DAYS, MAX_OVERLAP_MINUTES = 90, 3650, 24 * 60
_MAX_MODELS, _MAX_NETWORKS, _MAX_TOKENS = 100, 50, 2**31 - 1
_ALGORITHM = "ssh-ed25519"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


def _model_name(text: str) -> str:
    if parse_name(text) is None:
        raise ValueError("is not a model name")
    return text


def _network(text: str) -> str:
    try:
        return str(parse_network(text))
    except ValueError:
        meant = network_around(text)
        hint = (
            "such as 192.0.2.0/24 or 2001:db8::/48"
            if meant is None
            else f"but an address in one: did you mean {meant}?"
        )
        raise ValueError(f"is not a network {hint}") from None


def _blob(text: str) -> str:
    """Return the key of a line such as `ssh-ed25519 AAAA... name`, or of the middle word alone."""
    words = text.split(maxsplit=2)
    blob = words[1] if len(words) > 1 and words[0] == _ALGORITHM else text
    if not is_public_key(blob):
        raise ValueError("is not a line such as 'ssh-ed25519 AAAA... name'; copy it from ~/.ollama/id_ed25519.pub")
    return blob


KeyName = Annotated[
    str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True), AfterValidator(_printable)
]
Days = Annotated[int, Field(ge=0, le=MAX_DAYS)]
Models = Annotated[
    list[Annotated[str, StringConstraints(max_length=600), AfterValidator(_model_name)]],
    Field(min_length=1, max_length=_MAX_MODELS),
]
Networks = Annotated[
    list[Annotated[str, StringConstraints(max_length=50), AfterValidator(_network)]],
    Field(min_length=1, max_length=_MAX_NETWORKS),
]
RequestsPerMinute = Annotated[
    int, Field(ge=1, le=MOST_PER_MINUTE, description="Counted in each of the gateway's processes.")
]
TokensPerDay = Annotated[int, Field(ge=1, le=_MAX_TOKENS, description="Counted by days in UTC.")]


class KeyCreate(Body):
    """A new key; what is null has no bound of its own, and never more than its owner or the key it is made with."""

    name: KeyName
    expires_in_days: Days | None = Field(DEFAULT_DAYS, description="0 or null: it does not expire.")
    permissions: frozenset[Permission] | None = None
    models: Models | None = Field(None, description="Models and agents it may use.")
    networks: Networks | None = Field(
        None, description="Networks (CIDR) it may be used from, by the address of the connection itself."
    )
    requests_per_minute: RequestsPerMinute | None = None
    tokens_per_day: TokensPerDay | None = None

    def draft(self) -> KeyDraft:
        """Return what is asked for."""
        return KeyDraft(
            name=self.name,
            expires_in_days=self.expires_in_days or None,
            permissions=self.permissions,
            models=None if self.models is None else tuple(self.models),
            networks=None if self.networks is None else tuple(self.networks),
            requests_per_minute=self.requests_per_minute,
            tokens_per_day=self.tokens_per_day,
        )


class KeyUpdate(Body):
    """What changes about a key: null takes a bound away, what is not named stays."""

    name: KeyName | None = None
    expires_in_days: Days | None = Field(None, description="Counted from now; 0 or null: it does not expire.")
    models: Models | None = None
    networks: Networks | None = None
    requests_per_minute: RequestsPerMinute | None = None
    tokens_per_day: TokensPerDay | None = None

    @model_validator(mode="after")
    def _check_name(self) -> "KeyUpdate":
        if "name" in self.model_fields_set and self.name is None:
            raise ValueError("a key needs a name")
        return self

    def changes(self) -> dict[str, Any]:
        """Return the fields that are named."""
        named = self.model_dump(exclude_unset=True)
        return {**named, "expires_in_days": self.expires_in_days or None} if "expires_in_days" in named else named


class KeyRotate(Body):
    """How a key gets a new secret; may be left out."""

    overlap_minutes: int = Field(
        0, ge=0, le=MAX_OVERLAP_MINUTES, description="How long the old secret is good beside the new one."
    )


class KeyRead(Reply):
    """A key, without the key itself."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    hint: str
    permissions: list[str] | None
    models: list[str] | None
    networks: list[str] | None
    requests_per_minute: int | None
    tokens_per_day: int | None
    expires_at: datetime | None
    previous_until: datetime | None
    """Until when the key it replaced is good beside it."""
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    updated_at: datetime
    created_with: uuid.UUID | None
    """The key it was made or last renewed with; revoking that one revokes it too."""


class KeyMade(KeyRead):
    """A key that was just made or renewed; this is the only time it is shown."""

    key: str = ""


class PublicKeyCreate(Body):
    """A public key of one's own."""

    name: KeyName
    public_key: Annotated[str, StringConstraints(max_length=1000, strip_whitespace=True), AfterValidator(_blob)]


class PublicKeyRead(Reply):
    """A registered public key."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    blob: str
    created_at: datetime
