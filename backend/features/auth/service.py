"""Tells who is calling; every carrier of a credential ends here and in one `Principal`."""

from collections.abc import Iterable, Mapping
from typing import Any

from backend.core.errors import InvalidRequest, NotAuthenticated
from backend.features.auth.credentials import SignedRequest, read_credential, shows_key_in_query
from backend.features.auth.forwarded_users import ForwardedUsers
from backend.features.auth.identities import Identities
from backend.features.auth.principal import ANONYMOUS, Principal
from backend.features.auth.rates import RequestRates
from backend.features.auth.stores import KeyStore

MIN_KEY_LENGTH = 20
"""Characters of the shortest key that is accepted; longer than every placeholder of `credentials`."""

_HOW = "send it as 'Authorization: Bearer <key>', or in the gateway's address as /k/<key>"
_MISSING = f"a valid API key is needed; {_HOW}"
_OR_SIGN = ", or set OLLAMA_AUTH=1 if the gateway knows your public key"
_WRONG = "this API key is not valid here; check it, or ask whoever runs the gateway for one"
_STALE = "this access token is no longer valid: refresh it, or log in again"
_IN_QUERY = f"a key in the query string is not read; {_HOW}"


class Authenticator:
    """Checks the credential of each request.

    Args:
        stores: asked in order for the API key or token a caller shows.
        identities: checks signed requests.
        rates: counts the requests of credentials that may send only so many.
        forwarded: knows for whom a front end sends a request.
        is_open: whether everybody may call. A credential that is known still says who calls, any other is ignored.
    """

    def __init__(
        self,
        stores: Iterable[KeyStore],
        identities: Identities | None = None,
        rates: RequestRates | None = None,
        forwarded: ForwardedUsers | None = None,
        *,
        is_open: bool = False,
    ) -> None:
        self._stores = tuple(stores)
        self._identities = identities
        self._rates = rates or RequestRates()
        self._forwarded = forwarded
        self._is_open = is_open

    @property
    def requires_key(self) -> bool:
        """Whether callers must show a credential."""
        return not self._is_open

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return who sends the request of an ASGI scope.

        Raises `NotAuthenticated` without a valid credential, `InvalidRequest` for two that differ, `RateLimited` for
        one that was used too often, and what `ForwardedUsers.serve` raises.
        """
        principal = await self.identify(scope)
        if principal.requests_per_minute is not None:
            await self._rates.admit(principal.key_id or "", principal.requests_per_minute)
        if principal.serves_others and self._forwarded is not None:
            return await self._forwarded.serve(principal, scope)
        return principal

    async def identify(self, scope: Mapping[str, Any]) -> Principal:
        """Return who shows the credential of an ASGI scope; as `authenticate`, but no request is counted."""
        if not self._is_open:
            return await self._identify(read_credential(scope), scope)
        try:
            credential = read_credential(scope)
            return ANONYMOUS if credential is None else await self._identify(credential, scope)
        except (NotAuthenticated, InvalidRequest):
            return ANONYMOUS

    async def _identify(self, credential: str | SignedRequest | None, scope: Mapping[str, Any]) -> Principal:
        if credential is None:
            reason = _IN_QUERY if shows_key_in_query(scope["query_string"]) else _MISSING
            raise NotAuthenticated(reason if self._identities is None else reason + _OR_SIGN)
        if isinstance(credential, SignedRequest):
            if self._identities is None:
                raise NotAuthenticated(_MISSING)
            return await self._identities.identify(credential)
        client = scope.get("client")
        peer = client[0] if client else ""
        for store in self._stores:
            if (principal := await store.find(credential, peer)) is not None:
                return principal
        raise NotAuthenticated(_STALE if _looks_like_token(credential) else _WRONG)


def check_token(scope: Mapping[str, Any]) -> None:
    """Raise `NotAuthenticated` for a caller who shows an access token and was taken for nobody.

    An open gateway ignores what it does not know; where an account is needed, it says what became of the token.
    """
    try:
        credential = read_credential(scope)
    except (NotAuthenticated, InvalidRequest):
        return
    if isinstance(credential, str) and _looks_like_token(credential):
        raise NotAuthenticated(_STALE)


def _looks_like_token(credential: str) -> bool:
    """Whether this is a JWT, as only access tokens are here."""
    return credential.startswith("eyJ") and credential.count(".") == 2  # noqa: PLR2004 (its parts)
