"""What the routes of accounts work with."""

import ipaddress
import uuid
from dataclasses import dataclass

from fastapi import Request

from backend.core.errors import NotAuthenticated, NotFound, NotPermitted
from backend.features.accounts.administration import UserAdministration
from backend.features.accounts.attempts import Attempts
from backend.features.accounts.provider_logins import ProviderLogins
from backend.features.accounts.roles import RoleAdministration
from backend.features.accounts.service import AccountService, Stranger
from backend.features.accounts.sessions import SessionService
from backend.features.auth.deps import principal_of
from backend.features.auth.forwarded_users import ForwardedUsers
from backend.web.access import REQUEST_ID

_SHARED_BITS = 64
"""An IPv6 customer has at least this network to themselves, so it counts as one address."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The services of accounts."""

    own: AccountService
    sessions: SessionService
    users: UserAdministration
    roles: RoleAdministration
    attempts: Attempts
    provider_logins: ProviderLogins | None
    """None where no login provider is configured."""
    forwarded: ForwardedUsers


def accounts_of(request: Request) -> Accounts:
    """Return the services."""
    accounts: Accounts = request.state.container.accounts
    return accounts


def provider_logins_of(request: Request) -> ProviderLogins:
    """Return the service of logins with a login provider; raise `NotFound` where there is none."""
    logins = accounts_of(request).provider_logins
    if logins is None:
        raise NotFound("there is no login provider here; log in with POST /api/v1/auth/login")
    return logins


def own_id(request: Request) -> uuid.UUID:
    """Return whose account the caller's is, on a route with the policy `ACCOUNTS`."""
    user_id = principal_of(request).user_id
    if user_id is None:
        raise NotAuthenticated("log in first")
    return user_id


def session_id_of(request: Request) -> uuid.UUID | None:
    """Return the session the caller's access token belongs to; None for another kind of credential."""
    try:
        return uuid.UUID(principal_of(request).key_id)
    except (ValueError, TypeError):
        return None


def logged_in_id(request: Request) -> uuid.UUID:
    """Return whose account the caller is logged in to; raise `NotPermitted` for a key, which may be for models only."""
    if session_id_of(request) is None:
        raise NotPermitted("log in for this: a key does not change the account it belongs to, nor its sessions")
    return own_id(request)


def stranger_at(request: Request) -> Stranger:
    """Return who is at the door; the address is the connection's own, never one that a header names."""
    address = request.client.host if request.client is not None else "local"
    return Stranger(_network(address), request.headers.get("user-agent", ""), request.scope.get(REQUEST_ID, ""))


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _SHARED_BITS), strict=False))
