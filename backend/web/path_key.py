"""Takes a key out of the path before anything else looks at the request.

`https://gateway/k/<key>/api/chat` is the one form of a credential that every client can send: the `ollama` command
sends no header of the user's choice, but keeps a path given in its `OLLAMA_HOST`. A path is also what servers, logs,
metrics and redirects repeat most gladly. So this layer stands in front of all of them and changes the server's own
scope in place: nothing behind it, nor the server itself, has a key to repeat.
"""

import re
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

PATH_KEY = "passerelle.path_key"
"""ASGI scope extension: the key that stood in the path, or "" for something there that can be no key."""

_PREFIX = "/k"
_KEY = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@-]{1,512}")
"""What a URL may hold in a path without escapes; a key with other characters is sent in a header."""


class PathKey:
    """Serves `/k/<key>/...` as `/...`, and hands the key on in the scope; whether it is valid is decided elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see the module."""
        if scope["type"] in {"http", "websocket"} and scope["path"].startswith(_PREFIX):
            _take_key(scope)
        await self.app(scope, receive, send)


def _take_key(scope: Scope) -> None:
    path = scope["path"]
    if not _is_below_prefix(path):
        return
    rewritten = quote(path, safe="/!$&'()*+,;=:@").encode()
    raw = scope.get("raw_path") or rewritten
    is_plain = _is_below_prefix(raw.decode("latin-1"))
    if not is_plain:  # the prefix itself is escaped: no client writes it so, and no key comes of it
        raw = rewritten
    parts = raw.split(b"/", 3)
    key = parts[2] if len(parts) > 2 else b""  # noqa: PLR2004 (nothing, the prefix, the key)
    rest = b"/" + b"".join(parts[3:])
    scope["raw_path"] = rest
    scope["path"] = unquote(rest.decode("latin-1"))
    is_key = is_plain and _KEY.fullmatch(key) is not None
    scope.setdefault("extensions", {})[PATH_KEY] = key.decode() if is_key else ""


def _is_below_prefix(path: str) -> bool:
    return path == _PREFIX or path.startswith(f"{_PREFIX}/")
