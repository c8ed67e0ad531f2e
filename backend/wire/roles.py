"""The roles of a conversation, under every name that inbound formats have for them."""

from typing import get_args

from backend.core.errors import InvalidRequest
from backend.llm.types import Role

_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}
_ROLES |= {"developer": "system", "function": "tool"}


def find_role(text: str) -> Role | None:
    """Return the role a client names, in any case, or None for an unknown one."""
    return _ROLES.get(text.lower())


def read_role(text: str) -> Role:
    """Return the role a client names; raise `InvalidRequest` for an unknown one."""
    role = find_role(text)
    if role is None:
        raise InvalidRequest(f"invalid role {text[:40]!r}; use system, user, assistant or tool")
    return role
