"""What the routes of keys work with."""

import uuid
from dataclasses import dataclass

from fastapi import Request

from backend.core.errors import NotPermitted
from backend.features.auth.deps import principal_of
from backend.features.keys.public_keys import PublicKeyService
from backend.features.keys.service import KeyService
from backend.features.keys.stores import DatabaseIdentities, DatabaseKeys


@dataclass(frozen=True, slots=True)
class Keys:
    """The services of keys, and the stores in which the authenticator finds them."""

    own: KeyService
    public: PublicKeyService
    store: DatabaseKeys
    identities: DatabaseIdentities


def keys_of(request: Request) -> Keys:
    """Return the services."""
    keys: Keys = request.state.container.keys
    return keys


def owner_id_of(request: Request) -> uuid.UUID:
    """Return whose keys the caller's are; raise `NotPermitted` for one who cannot have any."""
    user_id = principal_of(request).user_id
    if user_id is None:
        raise NotPermitted("keys belong to accounts: log in, or send a key of your account")
    return user_id
