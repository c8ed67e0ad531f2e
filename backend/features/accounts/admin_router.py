"""Administration of users, roles and sessions."""

import uuid

from fastapi import APIRouter, Request

from backend.features.accounts.administration import UserChange
from backend.features.accounts.deps import accounts_of
from backend.features.accounts.models import Role, User
from backend.features.accounts.roles import RoleChange
from backend.features.accounts.router import new_user, session_page
from backend.features.accounts.schemas import (
    PasswordReset,
    RoleCreate,
    RoleRead,
    RoleUpdate,
    SessionRead,
    UserCreate,
    UserRead,
    UserUpdate,
)
from backend.features.audit.deps import caller_of
from backend.features.auth.policies import permitted
from backend.features.auth.principal import Permission
from backend.web.side_api import PageReply, Paging, SideRoute, page_reply

users = APIRouter(
    prefix="/api/v1/admin",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.MANAGE_USERS)],
)
roles = APIRouter(
    prefix="/api/v1/admin/roles",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.MANAGE_ROLES)],
)


@users.get("/users", response_model=PageReply[UserRead])
async def list_users(request: Request, paging: Paging) -> dict[str, object]:
    """List users by email."""
    return page_reply(UserRead, await accounts_of(request).users.page(paging))


@users.post("/users", status_code=201, response_model=UserRead)
async def create_user(request: Request, body: UserCreate) -> User:
    """Make an account."""
    return await accounts_of(request).users.create(caller_of(request), new_user(body, role=body.role))


@users.get("/users/{user_id}", response_model=UserRead)
async def read_user(request: Request, user_id: uuid.UUID) -> User:
    """Return a user."""
    return await accounts_of(request).users.get(user_id)


@users.patch("/users/{user_id}", response_model=UserRead)
async def update_user(request: Request, user_id: uuid.UUID, body: UserUpdate) -> User:
    """Change a user; `is_active` false suspends them, which ends their sessions and keys at once."""
    change = UserChange(body.name, body.email, body.role, body.is_active)
    return await accounts_of(request).users.update(caller_of(request), user_id, change)


@users.post("/users/{user_id}/password", status_code=204)
async def reset_password(request: Request, user_id: uuid.UUID, body: PasswordReset) -> None:
    """Give a user a new password; ends all their sessions."""
    password = body.password.get_secret_value()
    await accounts_of(request).users.reset_password(caller_of(request), user_id, password)


@users.delete("/users/{user_id}", status_code=204)
async def delete_user(request: Request, user_id: uuid.UUID) -> None:
    """Remove a user and all that is theirs."""
    await accounts_of(request).users.remove(caller_of(request), user_id)


@users.get("/users/{user_id}/sessions", response_model=PageReply[SessionRead])
async def list_sessions_of_user(request: Request, user_id: uuid.UUID, paging: Paging) -> dict[str, object]:
    """List the devices a user is logged in on."""
    accounts = accounts_of(request)
    await accounts.users.get(user_id)
    return session_page(request, await accounts.sessions.page(paging, user_id))


@users.get("/sessions", response_model=PageReply[SessionRead])
async def list_all_sessions(request: Request, paging: Paging) -> dict[str, object]:
    """List all live sessions."""
    return session_page(request, await accounts_of(request).sessions.page(paging))


@users.delete("/sessions/{session_id}", status_code=204)
async def end_any_session(request: Request, session_id: uuid.UUID) -> None:
    """Log somebody out on one device."""
    await accounts_of(request).users.end_session(caller_of(request), session_id)


@roles.get("", response_model=PageReply[RoleRead])
async def list_roles(request: Request, paging: Paging) -> dict[str, object]:
    """List roles by name."""
    return page_reply(RoleRead, await accounts_of(request).roles.page(paging))


@roles.post("", status_code=201, response_model=RoleRead)
async def create_role(request: Request, body: RoleCreate) -> Role:
    """Make a role with permissions one has oneself."""
    return await accounts_of(request).roles.create(caller_of(request), body.name, body.description, body.permissions)


@roles.get("/{role_id}", response_model=RoleRead)
async def read_role(request: Request, role_id: uuid.UUID) -> Role:
    """Return a role."""
    return await accounts_of(request).roles.get(role_id)


@roles.patch("/{role_id}", response_model=RoleRead)
async def update_role(request: Request, role_id: uuid.UUID, body: RoleUpdate) -> Role:
    """Change a role that does not come with the gateway."""
    change = RoleChange(body.name, body.description, body.permissions)
    return await accounts_of(request).roles.update(caller_of(request), role_id, change)


@roles.delete("/{role_id}", status_code=204)
async def delete_role(request: Request, role_id: uuid.UUID) -> None:
    """Remove a role that nobody has."""
    await accounts_of(request).roles.remove(caller_of(request), role_id)
