"""The one place that talks HTTP to upstreams: client, limits, error mapping.

httpx over the aiohttp transport: httpx's own transport loses pool slots for ever when requests are cancelled, and
cancelling upstream calls is what this gateway does all day (`docs/decisions/0002-http-client.md`). Bodies are read from
the aiohttp stream itself, because httpx's layers above it cost more per chunk than the translation does.

Nothing an upstream says moves us elsewhere: no redirects, no proxies from the environment, no cookies, no compression.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any

import aiohttp
import certifi
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from backend.llm.errors import (
    ModelNotFound,
    ProviderDisconnected,
    ProviderError,
    ProviderProtocolError,
    ProviderTimeout,
    ProviderUnreachable,
)
from backend.providers.status import raise_for_status
from backend.providers.upload import Upload
from backend.providers.watchdog import Timeouts, Watchdog
from backend.wire.jsontext import encode_json
from backend.wire.multipart import Form

_JSON = "application/json"
_READ = "passerelle.read"
_READ_BUFFER = 16 * 1024
_ERROR_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.1
_URLS = 64
"""Addresses of one upstream that are kept parsed; those with a digest in them are many and seldom used twice."""
_UPLOAD_SECONDS = 24 * 3600.0
_ACCEPTED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})
_PLAIN_KEEPALIVE, _TLS_KEEPALIVE = 4.0, 30.0
"""Seconds an idle connection is kept: below the 5 s after which vLLM's server closes its own."""
_NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one upstream answer may cost in memory."""

    line_bytes: int = 1024 * 1024
    answer_bytes: int = 64 * 1024 * 1024
    reply_bytes: int = 64 * 1024 * 1024
    """Of a reply that is read as a whole."""


@cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the context every upstream shares: verified against the public roots, plus `ca_file` if given."""
    context = ssl.create_default_context(cafile=certifi.where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


class _Transport(AiohttpTransport):
    """Adds to each response a direct way to read its body."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; see `httpx.AsyncBaseTransport`."""
        response: httpx.Response = await super().handle_async_request(request)
        stream = response.stream
        if isinstance(stream, AiohttpResponseStream):
            # The documented way is an async generator per chunk; this is the same stream two layers lower.
            response.extensions[_READ] = stream._aiohttp_response.content.readany  # noqa: SLF001
        return response


class Endpoint:
    """Where an upstream is, what every request to it carries, and the connections to it.

    Requests go to the transport directly: what httpx's client would add (redirects, cookies, proxies from the
    environment) is exactly what must not happen here, and it costs a quarter of a request's CPU.
    """

    __slots__ = ("_headers", "_secret", "_transport", "_url")

    def __init__(
        self, base_url: str, api_key: str | None, transport: httpx.AsyncBaseTransport, scheme: str = "Bearer"
    ) -> None:
        self._transport = transport
        self._headers = [(b"user-agent", b"passerelle"), (b"accept-encoding", b"identity")]
        if api_key:
            self._headers.append((b"authorization", f"{scheme} {api_key}".encode()))
        self._secret = (api_key or "").encode()
        self._url = lru_cache(_URLS)(lambda path: httpx.URL(base_url + path))

    def mask(self, body: bytes) -> bytes:
        """Return what an upstream said with our own key taken out, should it have repeated it."""
        return body.replace(self._secret, b"[masked]") if self._secret else body

    async def send(
        self, method: str, path: str, accept: str, body: bytes | Form | Upload | None, connect: float
    ) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        url = self._url(path)
        headers = [*self._headers, (b"accept", accept.encode())]
        extensions = {"timeout": {"connect": connect, "read": None, "write": None, "pool": None}}
        if body is None:
            request = httpx.Request(method, url, headers=headers, extensions=extensions)
        elif isinstance(body, Upload):
            # Chunked, never with a length: only the last chunk tells the upstream that the file is whole.
            headers.append((b"content-type", b"application/octet-stream"))
            request = httpx.Request(method, url, headers=headers, stream=body, extensions=extensions)
        else:
            # A stream instead of content: the transport adds Host and Content-Length itself, more cheaply.
            content_type, data = (body.content_type, body.data) if isinstance(body, Form) else (_JSON, body)
            headers.append((b"content-type", content_type.encode()))
            stream = httpx.ByteStream(data)
            request = httpx.Request(method, url, headers=headers, stream=stream, extensions=extensions)
            request.read()
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def open_endpoint(base_url: str, *, api_key: str | None, ca_file: str | None, scheme: str = "Bearer") -> Endpoint:
    """Return an upstream's endpoint; its connections open on first use, its key goes to this address only."""

    def open_session() -> aiohttp.ClientSession:
        keepalive = _TLS_KEEPALIVE if base_url.startswith("https:") else _PLAIN_KEEPALIVE
        connector = aiohttp.TCPConnector(
            limit=0, ssl=tls_context(ca_file), keepalive_timeout=keepalive, ttl_dns_cache=60
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, read_bufsize=_READ_BUFFER
        )

    transport = _Transport(verify=tls_context(ca_file), trust_env=False, client=open_session)
    return Endpoint(base_url, api_key, transport, scheme)


class BodyReader:
    """One open answer: reads its bytes under the watchdog and owns the connection.

    `read` returns b"" at the end and raises `ProviderError` for everything that goes wrong.
    """

    __slots__ = ("_backend", "_left", "_mask", "_read", "_response", "_watchdog", "at_end", "content_type")

    def __init__(
        self, backend: str, response: httpx.Response, watchdog: Watchdog, limit: int, mask: Callable[[bytes], bytes]
    ) -> None:
        self._backend = backend
        self._mask = mask
        self._response = response
        self._watchdog = watchdog
        self._left = limit
        self._read: Callable[[], Awaitable[bytes]] = response.extensions.get(_READ) or _iterate(response)
        self.at_end = False
        self.content_type = response.headers.get("content-type", "")

    def started(self) -> None:
        """Tell the watchdog that the answer has begun."""
        self._watchdog.started()

    async def read(self) -> bytes:
        """Return what the network has, at most a buffer full."""
        watchdog = self._watchdog
        watchdog.enter()
        try:
            data = await self._read()
        except asyncio.CancelledError:
            watchdog.cancelled()
            raise
        except _NETWORK_ERRORS as error:
            raise _network_error(self._backend, error, connected=True) from error
        finally:
            watchdog.leave()
        if not data:
            self.at_end = True
        self._left -= len(data)
        if self._left < 0:
            raise ProviderProtocolError(f"backend {self._backend!r} sent an answer that is too large; ask for less")
        return data

    def cleaned(self, error: ProviderError) -> ProviderError:
        """Return an error made of what the upstream said, with our own key taken out of it."""
        error.message = self._mask(error.message.encode("utf-8", "replace")).decode()
        error.args = (error.message,)
        return error

    async def read_all(self) -> bytes:
        """Return the rest of the body."""
        pieces = []
        while data := await self.read():
            pieces.append(data)
        return b"".join(pieces)

    async def aclose(self, *, complete: bool = False) -> None:
        """Close; a complete answer gets a moment to end properly, so that its connection can be used again."""
        self._watchdog.close()
        try:
            if complete and not self.at_end:
                await asyncio.wait_for(self._read(), _DRAIN_SECONDS)
        except _NETWORK_ERRORS:
            pass  # the answer is complete; only the connection is lost
        finally:
            await self._response.aclose()


class Upstream:
    """One configured server: its endpoint and the limits of calls to it."""

    def __init__(
        self, name: str, endpoint: Endpoint, timeouts: Timeouts, limits: Limits, key_name: str = "its API key"
    ) -> None:
        self.name = name
        self.limits = limits
        self._endpoint = endpoint
        self.timeouts = timeouts
        self._key_name = key_name

    async def aclose(self) -> None:
        """Close all connections."""
        await self._endpoint.aclose()

    async def open(
        self,
        path: str,
        body: Mapping[str, Any],
        content_type: str,
        timeouts: Timeouts | None = None,
    ) -> BodyReader:
        """Post `body` and return the open answer once the upstream accepted it; `timeouts` replace the usual ones.

        Raises `ProviderError` for every status but success, another `content_type` (a prefix) and an encoded body.
        """
        reader = await self._send(
            "POST", path, content_type, encode_json(body), timeouts or self.timeouts, self.limits.answer_bytes
        )
        if reader.content_type.startswith(content_type):
            return reader
        await reader.aclose()
        raise ProviderProtocolError(f"backend {self.name!r} answered with something that is not {content_type}")

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Post `body` and return the whole reply."""
        return await self._fetch("POST", path, encode_json(body), self.timeouts)

    async def post_large(self, path: str, body: bytes) -> bytes:
        """Post JSON that was encoded elsewhere and return the whole reply, which may take as long as a whole answer."""
        return await self._fetch("POST", path, body, replace(self.timeouts, first_byte=self.timeouts.total))

    async def delete(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a DELETE with a body, as Ollama wants it."""
        await self._fetch("DELETE", path, encode_json(body), self.timeouts)

    async def exists(self, path: str) -> bool:
        """Whether a HEAD finds something at the path."""
        try:
            await self._fetch("HEAD", path, None, self.timeouts)
        except ModelNotFound:
            return False
        return True

    async def post_form(self, path: str, form: Form) -> bytes:
        """Post a form and return the whole reply, which may take as long as a whole answer."""
        return await self._fetch("POST", path, form, replace(self.timeouts, first_byte=self.timeouts.total))

    async def upload(self, path: str, pieces: AsyncIterator[bytes]) -> None:
        """Post a body of any length as its pieces come; it may take a day while something moves.

        Raises what `pieces` raises, and `InvalidRequest` when it stalls; the upstream then sees a body cut short.
        """
        patient = replace(self.timeouts, first_byte=self.timeouts.idle, total=_UPLOAD_SECONDS)
        body = Upload(pieces)
        try:
            await self._fetch("POST", path, body, patient)
        except ProviderError as error:
            raise body.explain(error, patient.idle) from None

    async def get(self, path: str, *, timeout: float) -> bytes:  # noqa: ASYNC109 (the watchdog bounds it)
        """Return the whole reply to a GET, within `timeout` seconds."""
        limits = Timeouts(min(self.timeouts.connect, timeout), timeout, timeout, timeout)
        try:
            return await self._fetch("GET", path, None, limits)
        except ModelNotFound:
            raise ProviderProtocolError(
                f"backend {self.name!r} has nothing at {path} (404 Not Found); check its base URL"
            ) from None

    async def _fetch(self, method: str, path: str, body: bytes | Form | Upload | None, timeouts: Timeouts) -> bytes:
        reader = await self._send(method, path, _JSON, body, timeouts, self.limits.reply_bytes)
        try:
            return await reader.read_all()
        finally:
            await reader.aclose()

    async def _send(
        self, method: str, path: str, accept: str, body: bytes | Form | Upload | None, timeouts: Timeouts, limit: int
    ) -> BodyReader:
        watchdog = Watchdog(self.name, timeouts)
        if isinstance(body, Upload):
            body.on_progress = watchdog.progressed
        try:
            response = await watchdog.wait(lambda: self._endpoint.send(method, path, accept, body, timeouts.connect))
        except _NETWORK_ERRORS as error:
            watchdog.close()
            raise _network_error(self.name, error, connected=False) from error
        except BaseException:
            watchdog.close()
            raise
        reader = BodyReader(self.name, response, watchdog, limit, self._endpoint.mask)
        try:
            await self._check(response, reader)
        except BaseException:
            await reader.aclose()
            raise
        return reader

    async def _check(self, response: httpx.Response, reader: BodyReader) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ProviderProtocolError(f"backend {self.name!r} sent a compressed answer it was not asked for")
        if response.status_code not in _ACCEPTED:
            body = self._endpoint.mask(await _beginning(reader))
            raise_for_status(self.name, response.status_code, response.headers, body, self._key_name)


async def _beginning(reader: BodyReader) -> bytes:
    """Return as much of an error's body as is worth reading."""
    body = b""
    try:
        while len(body) < _ERROR_BYTES and (data := await reader.read()):
            body += data
    except ProviderError:
        return b""
    return body


def _iterate(response: httpx.Response) -> Callable[[], Awaitable[bytes]]:
    """Read a response that did not come over aiohttp (a mocked transport)."""
    stream = response.stream.__aiter__()  # type: ignore[union-attr]  # an AsyncClient has async streams

    async def read() -> bytes:
        return await anext(stream, b"")

    return read


def _network_error(backend: str, error: BaseException, *, connected: bool) -> ProviderError:
    """Tell apart what may be tried again (no connection) from what may have cost money (it broke later)."""
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    if isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)):
        return _unreachable(backend, cause)
    if isinstance(cause, (aiohttp.ClientResponseError, aiohttp.ClientPayloadError, httpx.RemoteProtocolError)):
        return ProviderProtocolError(f"backend {backend!r} broke off or garbled its answer; try again")
    if isinstance(cause, (aiohttp.ServerTimeoutError, httpx.ReadTimeout)):
        return ProviderTimeout(f"backend {backend!r} did not answer in time; try again")
    if not connected and isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL)):
        return _unreachable(backend, cause)
    return ProviderDisconnected(f"backend {backend!r} closed the connection; try again")


def _unreachable(backend: str, cause: BaseException) -> ProviderUnreachable:
    if isinstance(cause, aiohttp.ClientConnectorSSLError) and not isinstance(
        cause, aiohttp.ClientConnectorCertificateError
    ):
        return ProviderUnreachable(f"backend {backend!r} does not speak TLS there; use http:// or the right port")
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return ProviderUnreachable(f"backend {backend!r} shows a certificate that is not trusted; check its address")
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return ProviderUnreachable(f"backend {backend!r} has an address that cannot be found; check its base URL")
    return ProviderUnreachable(f"backend {backend!r} cannot be reached; check that it runs and its base URL is right")
