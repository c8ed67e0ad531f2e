"""How routes reach the audit log, and how they say who is calling."""

from fastapi import Request

from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.deps import principal_of
from backend.features.auth.principal import ANONYMOUS
from backend.web.access import REQUEST_ID


def audit_of(request: Request) -> AuditLog:
    """Return the audit log."""
    audit: AuditLog = request.state.container.audit
    return audit


def caller_of(request: Request) -> Caller:
    """Return who is calling, on a route that asks for a credential."""
    return Caller(principal_of(request), request.scope.get(REQUEST_ID, ""))


def stranger_of(request: Request) -> Caller:
    """Return the caller of a route that is open to everybody."""
    return Caller(ANONYMOUS, request.scope.get(REQUEST_ID, ""))
