"""One's own API keys and public keys."""

import uuid
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from backend.features.audit.deps import caller_of
from backend.features.auth.policies import permitted
from backend.features.auth.principal import Permission
from backend.features.keys.deps import keys_of, owner_id_of
from backend.features.keys.models import ApiKey, PublicKey
from backend.features.keys.schemas import (
    KeyCreate,
    KeyMade,
    KeyRead,
    KeyRotate,
    KeyUpdate,
    PublicKeyCreate,
    PublicKeyRead,
)
from backend.features.keys.service import NewKey
from backend.web.side_api import PageReply, Paging, SideRoute, page_reply

_WITHOUT_OVERLAP = KeyRotate()

router = APIRouter(
    prefix="/api/v1",
    tags=["keys"],
    route_class=SideRoute,
    dependencies=[permitted(Permission.WRITE_KEYS)],
)


@router.get("/keys", response_model=PageReply[KeyRead])
async def list_keys(request: Request, paging: Paging) -> dict[str, object]:
    """List your keys, newest first, the revoked ones too."""
    return page_reply(KeyRead, await keys_of(request).own.page(paging, owner_id_of(request)))


@router.post("/keys", status_code=201)
async def create_key(request: Request, response: Response, body: KeyCreate) -> KeyMade:
    """Make a key; the reply is the only place where it is shown."""
    return _made(response, await keys_of(request).own.create(caller_of(request), owner_id_of(request), body.draft()))


@router.get("/keys/{key_id}", response_model=KeyRead)
async def read_key(request: Request, key_id: uuid.UUID) -> ApiKey:
    """Return a key of yours."""
    return await keys_of(request).own.get(key_id, owner_id_of(request))


@router.patch("/keys/{key_id}", response_model=KeyRead)
async def update_key(request: Request, key_id: uuid.UUID, body: KeyUpdate) -> ApiKey:
    """Change a key of yours: its name, expiry, models, networks or limits."""
    return await keys_of(request).own.update(caller_of(request), key_id, owner_id_of(request), body.changes())


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(request: Request, key_id: uuid.UUID) -> None:
    """Revoke a key of yours: at once here, within a minute in the gateway's other processes."""
    await keys_of(request).own.revoke(caller_of(request), key_id, owner_id_of(request))


@router.post("/keys/{key_id}/rotate")
async def rotate_key(
    request: Request, response: Response, key_id: uuid.UUID, body: KeyRotate = _WITHOUT_OVERLAP
) -> KeyMade:
    """Give a key of yours a new secret; the old one is good for the overlap you choose."""
    overlap = timedelta(minutes=body.overlap_minutes)
    return _made(response, await keys_of(request).own.rotate(caller_of(request), key_id, owner_id_of(request), overlap))


@router.get("/public-keys", response_model=PageReply[PublicKeyRead])
async def list_public_keys(request: Request, paging: Paging) -> dict[str, object]:
    """List your public keys, newest first."""
    return page_reply(PublicKeyRead, await keys_of(request).public.page(paging, owner_id_of(request)))


@router.post("/public-keys", status_code=201, response_model=PublicKeyRead)
async def create_public_key(request: Request, body: PublicKeyCreate) -> PublicKey:
    """Register the public key of your machine, so that `ollama` with `OLLAMA_AUTH=1` calls as you."""
    return await keys_of(request).public.create(caller_of(request), owner_id_of(request), body.name, body.public_key)


@router.delete("/public-keys/{public_key_id}", status_code=204)
async def delete_public_key(request: Request, public_key_id: uuid.UUID) -> None:
    """Remove a public key of yours."""
    await keys_of(request).public.remove(caller_of(request), public_key_id, owner_id_of(request))


def _made(response: Response, new: NewKey) -> KeyMade:
    response.headers["cache-control"] = "no-store"
    return KeyMade.model_validate(new.row).model_copy(update={"key": new.key})
