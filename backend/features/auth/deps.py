"""The two policies a route can declare: open to everybody, or to callers with a valid credential.

Every route names one of them; a test walks the routes and fails on one that does not.
"""

from functools import partial

from fastapi import Depends, Request

from backend.features.auth.principal import Principal

_PRINCIPAL = "passerelle.principal"
"""Where a request's caller stands in its ASGI scope: a policy may run twice, but a request counts once."""


async def _require_caller(request: Request) -> None:
    principal: Principal | None = request.scope.get(_PRINCIPAL)
    container = request.state.container
    if principal is None:
        principal = await container.authenticator.authenticate(request.scope)
        request.scope[_PRINCIPAL] = principal
    request.state.principal = principal
    if principal.user_id is not None:
        request.state.track = partial(container.running.track, principal)


def principal_of(request: Request) -> Principal:
    """Return who is calling, on a route with the policy `CALLERS`."""
    principal: Principal = request.state.principal
    return principal


async def _anyone(request: Request) -> None:  # noqa: ARG001 (a policy takes the request)
    return None


CALLERS = Depends(_require_caller)
"""Policy: a valid credential, or anybody where the gateway is open."""

EVERYBODY = Depends(_anyone)
"""Policy: no credential is looked at."""
