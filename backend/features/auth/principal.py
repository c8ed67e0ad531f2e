"""Who is calling, and what they may do; every carrier of a credential ends in one of these."""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from backend.core.errors import NotPermitted
from backend.llm.names import ModelName


class Permission(StrEnum):
    """One thing a caller may be allowed to do; roles and keys are sets of these."""

    USE_MODELS = "models:use"
    MANAGE_MODELS = "models:manage"
    """Create, copy, delete, push and upload models on the machines behind the gateway."""
    WRITE_AGENTS = "agents:write"
    """Make, change and delete agents of one's own."""
    PUBLISH_AGENTS = "agents:publish"
    """Share one's own agents with roles or with everybody."""
    KNOWLEDGE = "knowledge:write"
    """Make, fill and share collections of one's own; add documents to one's agents and chats."""
    WRITE_KEYS = "keys:write"
    """Make and revoke keys of one's own."""
    MANAGE_USERS = "users:manage"
    MANAGE_ROLES = "roles:manage"
    MANAGE_KEYS = "keys:manage"
    """See and revoke everybody's keys."""
    MANAGE_AGENTS = "agents:manage"
    """See, change and delete everybody's agents."""
    MANAGE_KNOWLEDGE = "knowledge:manage"
    """See, change and delete everybody's collections and documents."""
    READ_BACKENDS = "backends:read"
    READ_AUDIT = "audit:read"
    READ_USAGE = "usage:read"
    DELEGATE = "users:delegate"
    """Have requests served as the user whom they name; only with a key that was made for it."""


CALLER = frozenset({Permission.USE_MODELS})
"""What an ordinary key permits."""

EVERYTHING = frozenset(Permission)
USER_PERMISSIONS = frozenset(
    {
        Permission.USE_MODELS,
        Permission.WRITE_AGENTS,
        Permission.PUBLISH_AGENTS,
        Permission.KNOWLEDGE,
        Permission.WRITE_KEYS,
    }
)
"""What the built-in role `user` may do."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling; holds ids, never a credential."""

    key_id: str | None
    """What the caller was known by: first characters of a key's hash, an id, or None for anybody."""
    permissions: frozenset[Permission] = CALLER
    models: frozenset[str] | None = None
    """Keys of the model names (`ModelName.key`) this caller may use; None means all."""
    user_id: uuid.UUID | None = None
    """Whose account this is; None for keys from the settings and for anybody."""
    trigramme: str = ""
    """The namespace of the user's agents; "" without an account."""
    role_id: uuid.UUID | None = None
    requests_per_minute: int | None = None
    """How many requests this credential may send in a minute; None means any number."""
    tokens_per_day: int | None = None
    """How many tokens this credential may use in a day (UTC), counted by `features.usage`; None means any number."""

    serves_others: bool = False
    """Whether this is a key that was made for a front end, whose requests name the user they are for."""
    is_forwarded: bool = False
    """Whether somebody else's key calls for this user; such a caller uses models and does nothing with the account."""
    is_bound: bool = False
    """Whether the credential may do less than the account it belongs to, or ends by itself."""

    def may(self, permission: Permission) -> bool:
        """Whether the caller has a permission."""
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        """Raise `NotPermitted` unless the caller has a permission."""
        if permission not in self.permissions:
            raise NotPermitted(f"this needs the permission {permission.value!r}; ask an administrator for it")

    def require_unbound(self) -> None:
        """Raise `NotPermitted` for a credential with bounds.

        Whatever makes or changes accounts, passwords and roles asks for this: what comes of it has none of the bounds.
        """
        if self.is_bound:
            raise NotPermitted(
                "a key that expires, or is bound to permissions, models, networks or limits, changes no accounts and "
                "no roles: log in for that, or use a key without bounds"
            )

    def may_use(self, name: ModelName) -> bool:
        """Whether the caller may see and use a model."""
        return self.models is None or name.key in self.models

    @property
    def actor(self) -> str:
        """How the audit log names the caller."""
        return str(self.user_id) if self.user_id else f"key:{self.key_id}" if self.key_id else "anonymous"


OPERATOR = Principal("operator", EVERYTHING)
"""Whoever runs the command line on the gateway's own machine."""

ANONYMOUS = Principal(None, frozenset({Permission.USE_MODELS, Permission.MANAGE_MODELS}))
"""Anybody, where the gateway asks for no key: only somebody on this machine or a trusted network gets here."""
