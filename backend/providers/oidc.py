"""Speaks OpenID Connect to the login provider: where to send people, and who they are when they are back.

Everything comes from the issuer's own discovery document, which must name that very issuer. No redirect is followed,
the client's secret goes to the token endpoint and nowhere else, and no connection outlives its request.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote_plus, urlsplit

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from backend.core.config_types import is_endpoint
from backend.core.errors import IdentityProviderFailed, NotAuthenticated
from backend.core.identity_provider import Identity, LoginTicket
from backend.core.logging import get_logger
from backend.llm.errors import ProviderAuthFailed, ProviderDenied, ProviderError, ProviderRejected
from backend.providers.http import Limits, Upstream, open_endpoint
from backend.providers.id_tokens import IdTokens
from backend.providers.oidc_keys import SigningKeys
from backend.providers.watchdog import Timeouts
from backend.wire.jsontext import UNREADABLE
from backend.wire.multipart import Form

_log = get_logger(__name__)
_FRESH_SECONDS: Final = 3600.0
_TIMEOUTS = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=10.0)
_LIMITS = Limits(reply_bytes=512 * 1024)
_WELL_KNOWN = "/.well-known/openid-configuration"
_BASIC, _POST = "client_secret_basic", "client_secret_post"
_SILENT = "the login provider does not answer; try again later"
_UNUSABLE = "the login provider's own description cannot be used; the gateway's operator checks GATEWAY_OIDC__ISSUER"
_BAD_CLIENT = "the login provider refuses the gateway; its operator checks GATEWAY_OIDC__CLIENT_ID and its secret"
_BAD_CODE = "the login provider does not confirm this login; log in again"


@dataclass(frozen=True, slots=True)
class Client:
    """What the gateway is at the provider."""

    issuer: str
    id: str
    secret: str
    redirect_uri: str
    scopes: tuple[str, ...]


class Web(Protocol):
    """Asks the provider; raises `ProviderError` for every reply but a good one."""

    async def get(self, url: str) -> bytes:
        """Return what is at an address."""
        ...

    async def post(self, url: str, form: Form, basic: str | None) -> bytes:
        """Send a form, with the credential of `Basic` if given, and return the reply."""
        ...


class HttpWeb:
    """The provider over the gateway's one HTTP client, a connection for each request.

    Args:
        ca_file: further certificate authorities to trust.
    """

    def __init__(self, ca_file: str | None) -> None:
        self._ca_file = ca_file

    async def get(self, url: str) -> bytes:
        """See `Web`."""
        upstream = self._open(url, None)
        try:
            return await upstream.get("", timeout=_TIMEOUTS.total)
        finally:
            await upstream.aclose()

    async def post(self, url: str, form: Form, basic: str | None) -> bytes:
        """See `Web`."""
        upstream = self._open(url, basic)
        try:
            return await upstream.post_form("", form)
        finally:
            await upstream.aclose()

    def _open(self, url: str, basic: str | None) -> Upstream:
        endpoint = open_endpoint(url, api_key=basic, ca_file=self._ca_file, scheme="Basic")
        return Upstream("login provider", endpoint, _TIMEOUTS, _LIMITS)


class _Description(msgspec.Struct):
    """The part of a discovery document that is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = (_BASIC,)


class _Tokens(msgspec.Struct):
    """The part of a token reply that is used; access and refresh tokens are not kept."""

    id_token: str


class OidcProvider:
    """An OpenID Connect provider; implements `IdentityProvider`.

    Args:
        client: what the gateway is there.
        web: how it is asked.
        now: seconds since 1970.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: Client,
        web: Web,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._web = web
        self._clock = clock
        self._tokens = IdTokens(client.issuer, client.id, SigningKeys(self._fetch_keys, clock), now)
        self._description: tuple[float, _Description] | None = None
        self._turn = asyncio.Lock()

    async def login_url(self, ticket: LoginTicket) -> str:
        """Return the address to send somebody to."""
        description = await self._describe()
        url: str = prepare_grant_uri(
            description.authorization_endpoint,
            self._client.id,
            "code",
            redirect_uri=self._client.redirect_uri,
            scope=self._client.scopes,
            state=ticket.state,
            nonce=ticket.nonce,
            code_challenge=create_s256_code_challenge(ticket.verifier),
            code_challenge_method="S256",
        )
        return url

    async def identify(self, code: str, ticket: LoginTicket) -> Identity:
        """Return who came back with a code."""
        description = await self._describe()
        reply = await self._exchange(description, code, ticket.verifier)
        try:
            tokens = msgspec.json.decode(reply, type=_Tokens)
        except UNREADABLE:
            raise _failed("token reply", _SILENT) from None
        return await self._tokens.verify(tokens.id_token, ticket.nonce)

    async def _exchange(self, description: _Description, code: str, verifier: str) -> bytes:
        client, methods = self._client, description.token_endpoint_auth_methods_supported
        fields = {"redirect_uri": client.redirect_uri, "code": code, "code_verifier": verifier}
        basic: str | None = None
        if _BASIC in methods:
            pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
            basic = base64.b64encode(pair.encode()).decode()
        elif _POST in methods:
            fields |= {"client_id": client.id, "client_secret": client.secret}
        else:
            raise _failed("client authentication", _UNUSABLE)
        body: str = prepare_token_request("authorization_code", **fields)
        form = Form(body.encode(), "application/x-www-form-urlencoded")
        try:
            return await self._web.post(description.token_endpoint, form, basic)
        except ProviderAuthFailed:
            raise _failed("client", _BAD_CLIENT) from None
        except (ProviderRejected, ProviderDenied):
            raise NotAuthenticated(_BAD_CODE) from None
        except ProviderError as error:
            raise _failed(type(error).__name__, _SILENT) from None

    async def _fetch_keys(self) -> bytes:
        return await self._get((await self._describe()).jwks_uri)

    async def _get(self, url: str) -> bytes:
        try:
            return await self._web.get(url)
        except ProviderError as error:
            raise _failed(type(error).__name__, _SILENT) from None

    async def _describe(self) -> _Description:
        async with self._turn:
            if self._description is None or self._clock() >= self._description[0]:
                url = self._client.issuer.rstrip("/") + _WELL_KNOWN
                self._description = (self._clock() + _FRESH_SECONDS, self._read(await self._get(url)))
            return self._description[1]

    def _read(self, body: bytes) -> _Description:
        """Return a discovery document that is the issuer's own and names addresses that may be asked."""
        try:
            found = msgspec.json.decode(body, type=_Description)
        except UNREADABLE:
            raise _failed("discovery document", _UNUSABLE) from None
        if found.issuer != self._client.issuer:
            raise _failed("issuer of discovery document", _UNUSABLE)
        may_be_plain = urlsplit(self._client.issuer).scheme == "http"
        for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if not is_endpoint(url, may_be_plain=may_be_plain):
                raise _failed("address in discovery document", _UNUSABLE)
        return found


def _failed(what: str, told: str) -> IdentityProviderFailed:
    """Log what went wrong, in our words alone, and return what the user is told."""
    _log.warning("login_provider_failed", reason=what)
    return IdentityProviderFailed(told)
