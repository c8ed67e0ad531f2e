"""Who is calling, and what they may do; every carrier of a credential ends in one of these."""

from dataclasses import dataclass
from enum import StrEnum

from backend.llm.names import ModelName


class Permission(StrEnum):
    """One thing a caller may be allowed to do."""

    USE_MODELS = "models:use"
    MANAGE_MODELS = "models:manage"
    """Create, copy, delete, push and upload models on the machines behind the gateway."""


CALLER = frozenset({Permission.USE_MODELS})
"""What an ordinary key permits."""

EVERYTHING = frozenset(Permission)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling; holds an id of the key, never the key."""

    key_id: str | None
    """First characters of the hash of the key, or of the public key; None for an anonymous caller."""
    permissions: frozenset[Permission] = CALLER
    models: frozenset[str] | None = None
    """Keys of the model names (`ModelName.key`) this caller may use; None means all."""

    def may(self, permission: Permission) -> bool:
        """Whether the caller has a permission."""
        return permission in self.permissions

    def may_use(self, name: ModelName) -> bool:
        """Whether the caller may see and use a model."""
        return self.models is None or name.key in self.models


OPERATOR = Principal("operator", EVERYTHING)
"""Whoever runs the command line on the gateway's own machine."""

ANONYMOUS = Principal(None, EVERYTHING)
"""Anybody, where the gateway asks for no key: only somebody on this machine or a trusted network gets here."""
