"""Which web pages may use the gateway, as Ollama decides it (`ollama-wire.md` 9).

A page that a user visits can send requests to their own machine, with any body, as long as it does not have to read the
reply; and a name that points to 127.0.0.1 only while the page runs lets it read that too. So where no key is asked for,
the `Host` must be one that nobody outside can own; and always, a foreign `Origin` is refused before anything is done.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.logging import get_logger

_log = get_logger(__name__)
_SHOWN = 100
"""Characters of a refused name that are logged."""
_LOCAL_ORIGINS = re.compile(
    r"https?://(localhost|127\.0\.0\.1|0\.0\.0\.0)(:\d{1,5})?|(app|file|tauri|vscode-webview|vscode-file)://.*",
    re.ASCII,
)
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
_SINGLE_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_METHODS = b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
_HEADERS = (
    b"Authorization,Content-Type,User-Agent,Accept,X-Requested-With,X-Api-Key,Anthropic-Version,Anthropic-Beta,"
    b"Anthropic-Dangerous-Direct-Browser-Access,Openai-Beta,"
    b"X-Stainless-Lang,X-Stainless-Package-Version,X-Stainless-Os,X-Stainless-Arch,X-Stainless-Retry-Count,"
    b"X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Async,X-Stainless-Helper-Method,"
    b"X-Stainless-Poll-Helper,X-Stainless-Custom-Poll-Interval,X-Stainless-Timeout"
)
_MAX_AGE = b"43200"


class OriginGuard:
    """Refuses foreign hosts and origins with an empty 403, and answers preflights.

    Args:
        app: what is guarded.
        origins: further origins to allow; `*` allows all (no credentials are ever allowed with it).
        check_host: whether the `Host` must be a local name, because anybody may call.
        hosts: further host names to allow.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str], *, check_host: bool, hosts: Iterable[str]) -> None:
        self.app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._check_host = check_host
        self._hosts = {host.lower() for host in hosts} | {socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host, origin = _find(scope)
        if self._check_host and not self._is_local(host):
            _log.warning(
                "host_refused", host=host[:_SHOWN], hint="add it to GATEWAY_SERVER__ALLOWED_HOSTS if it is yours"
            )
            await _answer(send, 403, [])
        elif origin is None or origin.lower() in {f"http://{host}".lower(), f"https://{host}".lower()}:
            await self.app(scope, receive, send)
        elif not self._allows(origin):
            _log.warning("origin_refused", origin=origin[:_SHOWN], hint="add it to CORS_ORIGINS if it is yours")
            await _answer(send, 403, [])
        elif scope["method"] == "OPTIONS":
            await _answer(send, 204, [*self._grant(origin), *_PREFLIGHT])
        else:
            await self._serve(scope, receive, send, origin)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, origin: str) -> None:
        async def send_with_grant(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._grant(origin)]
            await send(message)

        await self.app(scope, receive, send_with_grant)

    def _allows(self, origin: str) -> bool:
        known = "*" in self._origins or origin.lower() in self._origins
        return known or _LOCAL_ORIGINS.fullmatch(origin.lower()) is not None

    def _grant(self, origin: str) -> list[tuple[bytes, bytes]]:
        if "*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]

    def _is_local(self, host: str) -> bool:
        name = _without_port(host).lower()
        if not name or name in self._hosts or name.endswith(_LOCAL_SUFFIXES) or _SINGLE_LABEL.fullmatch(name):
            return True  # a name without a dot cannot be registered by a stranger
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or address.is_private or address.is_unspecified


_PREFLIGHT = [
    (b"access-control-allow-methods", _METHODS),
    (b"access-control-allow-headers", _HEADERS),
    (b"access-control-max-age", _MAX_AGE),
]


def _find(scope: Scope) -> tuple[str, str | None]:
    host, origin = "", None
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            origin = value.decode("latin-1")
    return host, origin


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
