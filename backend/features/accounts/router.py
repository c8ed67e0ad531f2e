"""Logging in and out, one's own account, one's own sessions."""

import uuid
from typing import Any

from fastapi import APIRouter, Request

from backend.core.errors import InvalidRequest
from backend.features.accounts.attempts import Attempt
from backend.features.accounts.deps import accounts_of, logged_in_id, own_id, session_id_of, stranger_at
from backend.features.accounts.models import Session, User
from backend.features.accounts.schemas import (
    Bootstrap,
    Login,
    MeRead,
    OwnUpdate,
    Refresh,
    Registration,
    SessionRead,
    TokenReply,
    Told,
    UserRead,
)
from backend.features.accounts.service import NewUser
from backend.features.accounts.sessions import Grant
from backend.features.audit.deps import caller_of
from backend.features.auth.deps import EVERYBODY, principal_of
from backend.features.auth.policies import ACCOUNTS
from backend.web.side_api import PageReply, Paging, SideRoute

_REGISTERED = "if this address had no account, it has one now: log in"

public = APIRouter(
    prefix="/api/v1/auth",
    tags=["accounts"],
    route_class=SideRoute,
    dependencies=[EVERYBODY],
)
router = APIRouter(prefix="/api/v1", tags=["accounts"], route_class=SideRoute, dependencies=[ACCOUNTS])


@public.post("/register", status_code=202, response_model=Told)
async def register(request: Request, body: Registration) -> dict[str, str]:
    """Make an account, where registration is open."""
    await accounts_of(request).own.register(stranger_at(request), new_user(body))
    return {"detail": _REGISTERED}


@public.post("/login", response_model=TokenReply)
async def login(request: Request, body: Login) -> Grant:
    """Begin a session: an access token for a quarter of an hour, a refresh token to get the next one."""
    return await accounts_of(request).own.login(stranger_at(request), body.email, body.password.get_secret_value())


@public.post("/refresh", response_model=TokenReply)
async def refresh(request: Request, body: Refresh) -> Grant:
    """Exchange a refresh token for new tokens; it works once."""
    stranger, accounts = stranger_at(request), accounts_of(request)
    await accounts.attempts.admit(Attempt.REFRESH, stranger.address)
    return await accounts.sessions.refresh(body.refresh_token.get_secret_value(), stranger.device, stranger.request_id)


@public.post("/bootstrap", status_code=201, response_model=UserRead)
async def bootstrap(request: Request, body: Bootstrap) -> User:
    """Make the first administrator with the token that the gateway wrote when it first started."""
    token = body.token.get_secret_value()
    return await accounts_of(request).own.bootstrap(stranger_at(request), token, new_user(body))


@router.post("/auth/logout", status_code=204)
async def logout(request: Request) -> None:
    """End the session that the access token belongs to."""
    session_id = session_id_of(request)
    if session_id is None:
        raise InvalidRequest("only a session can be logged out; revoke a key at /api/v1/keys")
    await accounts_of(request).sessions.end(caller_of(request), session_id, own_id(request))


@router.get("/auth/me")
async def read_me(request: Request) -> MeRead:
    """Return one's own account and what one may do."""
    return _me(request, await accounts_of(request).own.get(own_id(request)))


@router.patch("/auth/me")
async def update_me(request: Request, body: OwnUpdate) -> MeRead:
    """Change one's name, or one's password with the old one; a new password ends every session, this one too."""
    own, user_id = accounts_of(request).own, logged_in_id(request)
    if body.password is not None:
        if body.current_password is None:
            raise InvalidRequest("a new password needs the old one as current_password")
        old, new = body.current_password.get_secret_value(), body.password.get_secret_value()
        await own.change_password(caller_of(request), user_id, old, new)
    if body.name is not None:
        await own.rename(caller_of(request), user_id, body.name)
    return _me(request, await own.get(user_id))


@router.get("/sessions", response_model=PageReply[SessionRead])
async def list_sessions(request: Request, paging: Paging) -> dict[str, object]:
    """List the devices one is logged in on."""
    page = await accounts_of(request).sessions.page(paging, logged_in_id(request))
    return session_page(request, page)


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(request: Request, session_id: uuid.UUID) -> None:
    """Log out on one device."""
    await accounts_of(request).sessions.end(caller_of(request), session_id, logged_in_id(request))


def new_user(body: Registration, **more: Any) -> NewUser:
    """Return what an account begins with."""
    return NewUser(
        email=body.email,
        password=body.password.get_secret_value(),
        name=body.name,
        trigramme=body.trigramme,
        **more,
    )


def session_page(request: Request, page: Any) -> dict[str, object]:
    """Return a page of sessions, the caller's own marked."""
    current = session_id_of(request)

    def read(row: Session) -> SessionRead:
        return SessionRead.model_validate(row).model_copy(update={"is_current": row.id == current})

    return {"items": [read(row) for row in page.items], "total": page.total, "skip": page.skip, "limit": page.limit}


def _me(request: Request, user: User) -> MeRead:
    return MeRead.model_validate(user).model_copy(
        update={"permissions": tuple(sorted(principal_of(request).permissions))}
    )
