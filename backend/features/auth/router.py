"""Where `ollama signin` sends a caller whose public key is not registered yet."""

import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.core.errors import InvalidRequest
from backend.features.auth.deps import EVERYBODY
from backend.web.lean_route import LeanRoute
from backend.web.replies import text_response

CONNECT = "/connect"
_KEY = re.compile(r"AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9_-]{48}", re.ASCII)
"""An ed25519 public key in SSH's form, in base64 for URLs."""

router = APIRouter(tags=["auth"], dependencies=[EVERYBODY], route_class=LeanRoute)


@router.get(CONNECT)
async def connect(request: Request) -> Response:
    """Tell a caller how to have their public key registered."""
    key = request.query_params.get("key", "")
    if not _KEY.fullmatch(key):
        raise InvalidRequest("this address lacks a public key; run `ollama signin` again")
    line = f"ssh-ed25519 {key.replace('-', '+').replace('_', '/')}"
    return text_response(
        b"To use this gateway with the key of your machine, send this line to whoever runs it:\n\n"
        + f"{line} <your name>\n\n".encode()
        + b"They add it to GATEWAY_PUBLIC_KEYS. With an account here, register it yourself: POST /api/v1/public-keys.\n"
        + b"Start ollama with OLLAMA_AUTH=1 then.\n"
    )
