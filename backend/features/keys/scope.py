"""What a key may do and from where, and that no key makes a wider one.

Who calls with a key makes, changes and renews keys within the bounds of that key only: what is not said about a new one
is taken over from it, and it ends with it at the latest; what goes beyond is refused. A key that may be used only so
often makes none, since two would be twice as many.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from backend.core.errors import NotPermitted
from backend.features.auth.principal import Permission
from backend.features.keys.models import ApiKey
from backend.features.keys.networks import Network, is_within, parse_networks
from backend.llm.names import parse_name

_BEYOND = "a key cannot make or change one that may do more than itself"


@dataclass(frozen=True, slots=True)
class KeyDraft:
    """A key as it is asked for; None means no bound, or the bounds of the key it is asked with."""

    name: str
    expires_in_days: int | None
    permissions: frozenset[Permission] | None = None
    models: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class KeyScope:
    """The bounds of a key, apart from its row: a row may be changed by the very key it is."""

    permissions: frozenset[str] | None
    models: frozenset[str] | None
    networks: tuple[Network, ...] | None
    expires_at: datetime | None
    is_counted: bool

    @classmethod
    def of(cls, row: ApiKey) -> "KeyScope":
        """Return the bounds of a key as it is now."""
        return cls(
            None if row.permissions is None else frozenset(row.permissions),
            model_keys(row.models),
            parse_networks(row.networks),
            row.expires_at,
            row.requests_per_minute is not None or row.tokens_per_day is not None,
        )

    @property
    def is_bound(self) -> bool:
        """Whether there is any bound."""
        bounds = (self.permissions, self.models, self.networks, self.expires_at)
        return self.is_counted or any(bound is not None for bound in bounds)

    def check_covers(self, row: ApiKey) -> None:
        """Raise `NotPermitted` when a key may do what this one may not."""
        other = KeyScope.of(row)
        if self.is_counted:
            raise NotPermitted("a key with limits of its own makes and changes no keys; log in for that")
        if self.expires_at is not None and (other.expires_at is None or other.expires_at > self.expires_at):
            raise NotPermitted(f"{_BEYOND}: it would be good for longer")
        if not _covers(self.permissions, other.permissions):
            raise NotPermitted(f"{_BEYOND}: it would have more permissions")
        if not _covers(self.models, other.models):
            raise NotPermitted(f"{_BEYOND}: it could use more models")
        if self.networks is not None and (
            other.networks is None
            or not all(any(is_within(inner, outer) for outer in self.networks) for inner in other.networks)
        ):
            raise NotPermitted(f"{_BEYOND}: it could be used from more networks")


def model_keys(names: Iterable[str] | None) -> frozenset[str] | None:
    """Return names of models in the form in which they are compared."""
    if names is None:
        return None
    return frozenset(name.key for name in map(parse_name, names) if name is not None)


def _covers(mine: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    return mine is None or (other is not None and other <= mine)
