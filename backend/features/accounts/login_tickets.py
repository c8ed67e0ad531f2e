"""What ties somebody who comes back from a login provider to the browser that was sent there.

A ticket is one random value; what the provider is told of it besides follows from it with a key that only the gateway
has. So the cookie holds no secret of the exchange, and nothing is kept here but which tickets have been used.
"""

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable

from backend.core.errors import NotAuthenticated
from backend.core.identity_provider import LoginTicket

LIFETIME_SECONDS = 600
_BYTES = 32
_PARTS = 3
_LONGEST = 200
_MOST_USED = 10_000
_WRONG = "this login was begun in another browser, too long ago, or is over; begin again at /api/v1/auth/oidc/login"


class LoginTickets:
    """Issues tickets and takes each back once, from the browser it was given to.

    Args:
        key: the gateway's own; tickets are signed with keys that come from it.
        now: seconds since 1970.
    """

    def __init__(self, key: bytes, now: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(key, b"logins with a provider", "sha256")
        self._now = now
        self._used: OrderedDict[str, int] = OrderedDict()

    def issue(self) -> tuple[LoginTicket, str]:
        """Return a fresh ticket, and the cookie that brings it back."""
        state = secrets.token_urlsafe(_BYTES)
        until = f"{int(self._now()) + LIFETIME_SECONDS}"
        return self._ticket(state), f"{state}.{until}.{self._derive('cookie', f'{state}.{until}')}"

    def redeem(self, cookie: str, state: str) -> LoginTicket:
        """Return the ticket that a browser brings back; raise `NotAuthenticated` for any other, and the second time."""
        parts = cookie.split(".")
        if len(cookie) > _LONGEST or len(state) > _LONGEST or len(parts) != _PARTS:
            raise NotAuthenticated(_WRONG)
        kept, until, signature = parts
        if not _same(self._derive("cookie", f"{kept}.{until}"), signature) or not _same(kept, state):
            raise NotAuthenticated(_WRONG)
        if int(until) <= self._now() or state in self._used:
            raise NotAuthenticated(_WRONG)
        self._use(state, int(until))
        return self._ticket(state)

    def _use(self, state: str, until: int) -> None:
        self._used[state] = until
        while len(self._used) > _MOST_USED or next(iter(self._used.values())) <= self._now():
            self._used.popitem(last=False)

    def _ticket(self, state: str) -> LoginTicket:
        return LoginTicket(state, self._derive("nonce", state), self._derive("verifier", state))

    def _derive(self, purpose: str, value: str) -> str:
        made = hmac.digest(self._key, f"{purpose}:{value}".encode("utf-8", "surrogateescape"), "sha256")
        return urlsafe_b64encode(made).rstrip(b"=").decode()


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode("utf-8", "replace"), given.encode("utf-8", "replace"))
