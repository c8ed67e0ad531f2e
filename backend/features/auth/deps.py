"""The two policies a route can declare: open to everybody, or to callers with a valid credential.

Every route names one of them; a test walks the routes and fails on one that does not.
"""

import re
from functools import partial
from urllib.parse import unquote

from fastapi import Depends, Request

from backend.core.errors import InvalidRequest
from backend.features.auth.context import NO_WISH, CallContext, KnowledgeWish
from backend.features.auth.principal import Principal
from backend.web.access import REQUEST_ID

_PRINCIPAL = "passerelle.principal"
"""Where a request's caller stands in its ASGI scope: a policy may run twice, but a request counts once."""

_CONVERSATION = "x-openwebui-chat-id"
"""Open WebUI names the chat here, also on the calls that title or tag it (`clients.md` 5)."""
_KNOWLEDGE = "x-rag"
_MAX_NAMED, _MAX_WISH = 20, 4000
_VALID_CONVERSATION = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)


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


def context_of(request: Request) -> CallContext:
    """Return who is calling and in which conversation, on a route with the policy `CALLERS`."""
    named = request.headers.get(_CONVERSATION, "")
    conversation = named if _VALID_CONVERSATION.fullmatch(named) else ""
    wish = _read_wish(request.headers.get(_KNOWLEDGE, ""))
    request_id = request.scope.get(REQUEST_ID, "-")
    return CallContext(principal_of(request), conversation, request_id=request_id, knowledge=wish)


def _read_wish(header: str) -> KnowledgeWish:
    """Return what `X-RAG` says: `on`, `off`, or `collection=<id or name>,...`, names in UTF-8 or percent-encoded."""
    text = _as_sent(header).strip()
    if text.lower() in {"", "on"}:
        return NO_WISH
    if text.lower() == "off":
        return KnowledgeWish(is_off=True)
    key, _, value = text.partition("=")
    named = tuple(filter(None, (unquote(part, errors="replace").strip() for part in value.split(","))))
    if key.strip().lower() != "collection" or not 0 < len(named) <= _MAX_NAMED or len(value) > _MAX_WISH:
        raise InvalidRequest(
            f"X-RAG takes 'on', 'off' or 'collection=' and up to {_MAX_NAMED} ids or names with commas between"
        )
    if any("\0" in name for name in named):
        raise InvalidRequest("X-RAG names a collection with NUL (%00) in it, which none has; leave it out")
    return KnowledgeWish(collections=named)


def _as_sent(header: str) -> str:
    """Return the text of a header whose bytes came as Latin-1, which clients such as curl send as UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


async def _anyone(request: Request) -> None:  # noqa: ARG001 (a policy takes the request)
    return None


CALLERS = Depends(_require_caller)
"""Policy: a valid credential, or anybody where the gateway is open."""

EVERYBODY = Depends(_anyone)
"""Policy: no credential is looked at."""
