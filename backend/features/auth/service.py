"""Tells who is calling; every carrier of a credential ends here and in one `Principal`."""

from collections.abc import Mapping
from typing import Any

from backend.core.errors import NotAuthenticated
from backend.features.auth.credentials import SignedRequest, read_credential, shows_key_in_query
from backend.features.auth.identities import Identities
from backend.features.auth.principal import ANONYMOUS, Principal
from backend.features.auth.stores import KeyStore

MIN_KEY_LENGTH = 20
"""Characters of the shortest key that is accepted; longer than every placeholder of `credentials`."""

_HOW = "send it as 'Authorization: Bearer <key>', or in the gateway's address as /k/<key>"
_MISSING = f"a valid API key is needed; {_HOW}"
_OR_SIGN = ", or set OLLAMA_AUTH=1 if the gateway knows your public key"
_WRONG = "this API key is not valid here; check it, or ask whoever runs the gateway for one"
_IN_QUERY = f"a key in the query string is not read; {_HOW}"


class Authenticator:
    """Checks the credential of each request.

    Args:
        keys: the accepted API keys; None means that everybody may call and no credential is looked at.
        identities: checks signed requests.
    """

    def __init__(self, keys: KeyStore | None, identities: Identities | None = None) -> None:
        self._keys = keys
        self._identities = identities

    @property
    def requires_key(self) -> bool:
        """Whether callers must show a credential."""
        return self._keys is not None

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return who sends the request of an ASGI scope.

        Raises `NotAuthenticated` without a valid credential, `InvalidRequest` for two that differ.
        """
        if self._keys is None:
            return ANONYMOUS
        credential = read_credential(scope)
        if credential is None:
            reason = _IN_QUERY if shows_key_in_query(scope["query_string"]) else _MISSING
            raise NotAuthenticated(reason if self._identities is None else reason + _OR_SIGN)
        if not isinstance(credential, SignedRequest):
            principal = await self._keys.find(credential)
            if principal is None:
                raise NotAuthenticated(_WRONG)
            return principal
        if self._identities is None:
            raise NotAuthenticated(_MISSING)
        return await self._identities.identify(credential)
