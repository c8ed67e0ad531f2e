"""A team as a plain model knows it: what everybody may do and see, without a gateway."""

from dataclasses import dataclass, field

from backend.features.auth.principal import Permission


@dataclass(eq=False)
class Role:
    """A role as the model knows it."""

    id: str
    name: str
    permissions: frozenset[str]
    is_built_in: bool = False


@dataclass(eq=False)
class Member:
    """Somebody as the model knows them."""

    id: str
    email: str
    trigramme: str
    role: Role
    is_active: bool = True
    is_removed: bool = False
    tokens: list[str] = field(default_factory=list)
    """Of every login; the last one may be worth nothing any more, the others are."""

    def may(self, permission: Permission) -> bool:
        return permission in self.role.permissions

    def covers(self, permissions: frozenset[str]) -> bool:
        return permissions <= self.role.permissions


@dataclass(eq=False)
class Agent:
    """An agent as the model knows it."""

    id: str
    name: str
    owner: Member
    is_public: bool
    roles: frozenset[Role]

    def is_for(self, member: Member) -> bool:
        """Whether somebody may use it."""
        if member.may(Permission.MANAGE_AGENTS):
            return True
        shared = self.is_public or self.owner is member or member.role in self.roles
        return shared and self.owner.is_active


@dataclass(eq=False)
class Key:
    """A key as the model knows it."""

    id: str
    secret: str
    owner: Member
    permissions: frozenset[str] | None
    is_revoked: bool = False

    @property
    def permits(self) -> frozenset[str] | None:
        """What it may do; None for nothing, not even call."""
        if self.is_revoked or not self.owner.is_active:
            return None
        return (
            self.owner.role.permissions if self.permissions is None else self.owner.role.permissions & self.permissions
        )
