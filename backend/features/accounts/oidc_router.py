"""Logging in with a login provider: there and back."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response

from backend.features.accounts.deps import provider_logins_of, stranger_at
from backend.features.accounts.login_tickets import LIFETIME_SECONDS
from backend.features.accounts.provider_logins import Return
from backend.features.accounts.schemas import TokenReply
from backend.features.accounts.sessions import Grant
from backend.features.auth.deps import EVERYBODY
from backend.web.side_api import SideRoute

_PREFIX = "/api/v1/auth/oidc"
CALLBACK = f"{_PREFIX}/callback"
_COOKIE = "passerelle_login"
_NO_STORE = {"cache-control": "no-store"}

router = APIRouter(prefix=_PREFIX, tags=["accounts"], route_class=SideRoute, dependencies=[EVERYBODY])


@router.get("/login", status_code=302, response_class=Response)
async def begin(request: Request) -> Response:
    """Send a browser to the login provider."""
    logins = provider_logins_of(request)
    begun = await logins.begin(stranger_at(request))
    reply = Response(status_code=302, headers={"location": begun.url, **_NO_STORE})
    _set_cookie(reply, logins.redirect_uri, begun.cookie, LIFETIME_SECONDS)
    return reply


@router.get("/callback", response_model=TokenReply)
async def complete(
    request: Request,
    response: Response,
    state: Annotated[str, Query(max_length=200, description="What the provider was given.")] = "",
    code: Annotated[str, Query(max_length=4096, description="What the provider gave; none when it refused.")] = "",
) -> Grant:
    """Begin a session for whoever comes back from the login provider: the same reply as from logging in here."""
    logins = provider_logins_of(request)
    back = Return(request.cookies.get(_COOKIE, ""), state, code)
    grant = await logins.complete(stranger_at(request), back)
    response.headers.update(_NO_STORE)
    _set_cookie(response, logins.redirect_uri, "", 0)
    return grant


def _set_cookie(response: Response, redirect_uri: str, value: str, max_age: int) -> None:
    """Let a browser bring a value to the callback and nowhere else, also when another site sends it there (Lax)."""
    address = urlsplit(redirect_uri)
    response.set_cookie(
        _COOKIE,
        value,
        max_age=max_age,
        path=address.path,
        secure=address.scheme == "https",
        httponly=True,
        samesite="lax",
    )
