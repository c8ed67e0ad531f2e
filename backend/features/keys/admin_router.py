"""Everybody's keys, for those who look after them; nobody sees or makes a key in somebody else's name here."""

import uuid

from fastapi import APIRouter, Request

from backend.features.audit.deps import caller_of
from backend.features.auth.policies import permitted
from backend.features.auth.principal import Permission
from backend.features.keys.deps import keys_of
from backend.features.keys.schemas import KeyRead, PublicKeyRead
from backend.web.side_api import PageReply, Paging, SideRoute, page_reply

router = APIRouter(
    prefix="/api/v1/admin",
    tags=["administration"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.MANAGE_KEYS)],
)


@router.get("/keys", response_model=PageReply[KeyRead])
async def list_all_keys(request: Request, paging: Paging) -> dict[str, object]:
    """List all keys, newest first."""
    return page_reply(KeyRead, await keys_of(request).own.page(paging))


@router.get("/users/{user_id}/keys", response_model=PageReply[KeyRead])
async def list_keys_of_user(request: Request, user_id: uuid.UUID, paging: Paging) -> dict[str, object]:
    """List a user's keys, newest first."""
    return page_reply(KeyRead, await keys_of(request).own.page(paging, user_id))


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_any_key(request: Request, key_id: uuid.UUID) -> None:
    """Revoke somebody's key."""
    await keys_of(request).own.revoke(caller_of(request), key_id)


@router.get("/public-keys", response_model=PageReply[PublicKeyRead])
async def list_all_public_keys(request: Request, paging: Paging) -> dict[str, object]:
    """List all public keys, newest first."""
    return page_reply(PublicKeyRead, await keys_of(request).public.page(paging))


@router.delete("/public-keys/{public_key_id}", status_code=204)
async def delete_any_public_key(request: Request, public_key_id: uuid.UUID) -> None:
    """Remove somebody's public key."""
    await keys_of(request).public.remove(caller_of(request), public_key_id)
