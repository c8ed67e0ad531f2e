"""Policies of the side API: a route says which permission its caller needs, or that an account is enough."""

from typing import Annotated, Any

from fastapi import Depends, Request

from backend.core.errors import NotAuthenticated, NotPermitted
from backend.features.auth.deps import CALLERS, principal_of
from backend.features.auth.principal import ANONYMOUS, Permission, Principal
from backend.features.auth.service import check_token

_identify: Any = CALLERS.dependency


class Requires:
    """Lets a caller pass who has a permission; use as `Depends(Requires(Permission.X))`."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Principal:
        """Return the caller, or raise why they may not pass."""
        await _identify(request)
        principal = principal_of(request)
        if not principal.may(self.permission):
            _check_known(request, principal)
        principal.require(self.permission)
        return principal


async def account_of(request: Request) -> Principal:
    """Return the caller, who must have an account: a settings key or an open gateway has nothing of its own."""
    await _identify(request)
    principal = principal_of(request)
    if principal.is_forwarded:
        raise NotPermitted("this is about an account's own things: its user logs in for them, no front end does it")
    if principal.user_id is None:
        _check_known(request, principal)
        raise NotAuthenticated("log in, or send a key of your account: this is about an account's own things")
    return principal


def _check_known(request: Request, principal: Principal) -> None:
    """Refuse somebody whom nothing makes known with a word about their token, where they show one."""
    if principal is ANONYMOUS:
        check_token(request.scope)


ACCOUNTS = Depends(account_of)
"""Policy: anybody with an account."""

Account = Annotated[Principal, ACCOUNTS]
"""A route's parameter that is its policy too: the caller's account."""


def permitted(permission: Permission) -> Any:
    """Return the policy for callers with a permission."""
    return Depends(Requires(permission))
