"""What Ollama's clients ask about an account at ollama.com, answered for a gateway that knows callers by their keys."""

import uuid
from typing import NoReturn

from backend.core.errors import NotAuthenticated, NotPermitted
from backend.features.auth.principal import Principal
from backend.wire.jsontext import encode_json
from backend.wire.ollama.replies import SIGNED_OUT

_NAME = "passerelle"
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:passerelle:callers")


def describe_caller(principal: Principal) -> bytes:
    """Return the reply to `POST /api/me`: whoever got here is signed in, and clients need not send them elsewhere."""
    ident = uuid.uuid5(_SPACE, principal.key_id or "anonymous")
    return encode_json({"id": str(ident), "email": "", "name": _NAME, "plan": "free"})


def sign_out() -> NoReturn:
    """Answer `POST /api/signout`: there is no session at ollama.com to end, which stock clients say in their words."""
    raise NotAuthenticated(SIGNED_OUT)


def refuse_cloud(what: str) -> NoReturn:
    """Answer what only ollama.com can do."""
    raise NotPermitted(f"ollama cloud is disabled: {what} is unavailable")
