"""Which web pages may use the gateway, as Ollama decides it (`ollama-wire.md` 9).

A page that a user visits can send requests to their own machine, with any body, as long as it does not have to read the
reply; and a name that points to 127.0.0.1 only while the page runs lets it read that too. So where no key is asked for,
the `Host` must be one that nobody outside can own; and always, a foreign `Origin` is refused before anything is done.
So it is with WebSockets, which browsers open to anywhere.
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
_HOST = re.compile(r"(\[[0-9A-Za-z:.%]+\]|[A-Za-z0-9._-]*)(:[0-9]{1,5})?", re.ASCII)
_FOREIGN_HOST = (
    b"this gateway may not be called by this host name; its operator can add it to GATEWAY_SERVER__ALLOWED_HOSTS"
)
_FOREIGN_ORIGIN = b"web pages of this origin may not call this gateway; its operator can add it to CORS_ORIGINS"
_PLAIN = [(b"content-type", b"text/plain; charset=utf-8")]
_METHODS = b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
_HEADERS = (
    b"Authorization,Content-Type,User-Agent,Accept,X-Requested-With,X-Api-Key,Anthropic-Version,Anthropic-Beta,"
    b"Anthropic-Dangerous-Direct-Browser-Access,Openai-Beta,X-Rag,"
    b"X-Stainless-Lang,X-Stainless-Package-Version,X-Stainless-Os,X-Stainless-Arch,X-Stainless-Retry-Count,"
    b"X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Async,X-Stainless-Helper-Method,"
    b"X-Stainless-Poll-Helper,X-Stainless-Custom-Poll-Interval,X-Stainless-Timeout"
)
_MAX_AGE = b"43200"


class OriginGuard:
    """Refuses foreign hosts and origins with a 403 that says what to do, and answers preflights.

    Args:
        app: what is guarded.
        origins: further origins to allow; `scheme://*` allows all of a browser's extensions or an application's pages,
            `*` allows all (no credentials are ever allowed with it).
        check_host: whether the `Host` must be a local name, because anybody may call.
        hosts: further host names to allow.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str], *, check_host: bool, hosts: Iterable[str]) -> None:
        self.app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._schemes = tuple(origin.removesuffix("*") for origin in self._origins if origin.endswith("://*"))
        self._check_host = check_host
        self._hosts = {host.lower() for host in hosts} | {socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        host, origin = _find(scope)
        if host is None:
            await _answer(scope, send, 400, _PLAIN, b"400 Bad Request: malformed Host header")
        elif self._check_host and not self._is_local(host):
            _log.warning(
                "host_refused", host=host[:_SHOWN], hint="add it to GATEWAY_SERVER__ALLOWED_HOSTS if it is yours"
            )
            await _answer(scope, send, 403, _PLAIN, _FOREIGN_HOST)
        elif origin is None or origin.lower() in {f"http://{host}".lower(), f"https://{host}".lower()}:
            await self.app(scope, receive, send)
        elif not self._allows(origin):
            _log.warning("origin_refused", origin=origin[:_SHOWN], hint="add it to CORS_ORIGINS if it is yours")
            await _answer(scope, send, 403, _PLAIN, _FOREIGN_ORIGIN)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS":
            await _answer(scope, send, 204, [*self._grant(origin), *_PREFLIGHT])
        else:
            await self._serve(scope, receive, send, origin)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, origin: str) -> None:
        async def send_with_grant(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._grant(origin)]
            await send(message)

        await self.app(scope, receive, send_with_grant)

    def _allows(self, origin: str) -> bool:
        origin = origin.lower()
        known = "*" in self._origins or origin in self._origins or origin.startswith(self._schemes)
        return known or _LOCAL_ORIGINS.fullmatch(origin) is not None

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


def _find(scope: Scope) -> tuple[str | None, str | None]:
    """Return host and origin; None for a host that is none, or that is given twice, and for no origin.

    Frameworks disagree on what a malformed host means, so nothing behind this one gets to see it. Two origins make one
    that is never allowed: it matters little which of them a page had a hand in.
    """
    hosts: list[str] = []
    origins: list[str] = []
    for name, value in scope["headers"]:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name == b"origin":
            origins.append(value.decode("latin-1"))
    host = "".join(hosts)
    is_valid = len(hosts) < 2 and _HOST.fullmatch(host) is not None  # noqa: PLR2004 (one or none)
    return host if is_valid else None, ", ".join(origins) if origins else None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


async def _answer(scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    length = (b"content-length", b"%d" % len(body))
    await send({"type": f"{kind}.start", "status": status, "headers": [*headers, length]})
    await send({"type": f"{kind}.body", "body": body})
