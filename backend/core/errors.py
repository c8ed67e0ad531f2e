"""The root of every error the gateway answers with.

GatewayError 500
 |- InvalidRequest 400       NotPermitted 403
 |- NotAuthenticated 401
 |   '- NotRegistered 401    the caller's public key is unknown; carries signin_url
 |- NotFound 404             Conflict 409           PayloadTooLarge 413
 |- Unprocessable 422        well-formed, but names what is not there
 |- RateLimited 429          carries retry_after    ClientGone 499 (never seen, only logged)
 |   |- QuotaExceeded 429    a quota of tokens a day has no room for the request
 |   '- TooManyAttempts 429  somebody tried to log in too often: see features.accounts.attempts
 |- Overloaded 503           the gateway's own queue is full; carries retry_after
 |- StoreUnavailable 503     a store of our own does not answer
 |   '- Collided 503         another transaction was in the way of this one
 |- IdentityProviderFailed 502  the login provider does not answer, or not as it should
 '- ProviderError 502        an upstream failed: see backend.llm.errors

An error carries its HTTP status and one sentence for the user; the inbound wire format decides how it is written.
Messages never hold keys, prompts or upstream internals.
"""

from typing import ClassVar


class GatewayError(Exception):
    """Something the user is told: `message` is one sentence, `status` its HTTP status."""

    status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        """Seconds after which trying again makes sense, or None."""


class InvalidRequest(GatewayError):
    """The caller sent something that can never work as it stands."""

    status = 400


class NotAuthenticated(GatewayError):
    """The caller showed no valid credential."""

    status = 401


class NotRegistered(NotAuthenticated):
    """The caller signed with a key that nobody registered; `signin_url` tells where to, or is None."""

    def __init__(self, message: str, *, signin_url: str | None = None) -> None:
        super().__init__(message)
        self.signin_url = signin_url


class NotPermitted(GatewayError):
    """The caller is known but may not do this."""

    status = 403


class NotFound(GatewayError):
    """What the caller named does not exist for them."""

    status = 404


class Conflict(GatewayError):
    """What the caller wants to make exists already, or is still in use."""

    status = 409


class Unprocessable(GatewayError):
    """The caller's object is well-formed, but names something that is not there for them."""

    status = 422


class RateLimited(GatewayError):
    """The caller asks too often; carries `retry_after`."""

    status = 429


class QuotaExceeded(RateLimited):
    """A quota of the caller has no room for the request until its window ends; carries `retry_after`."""


class PayloadTooLarge(GatewayError):
    """The request body is over the configured limit."""

    status = 413


class ClientGone(GatewayError):
    """The client closed the connection before the answer; nobody reads this, the log counts it."""

    status = 499

    def __init__(self) -> None:
        super().__init__("request canceled")


class Overloaded(GatewayError):
    """The gateway has more work than it may queue."""

    status = 503


class StoreUnavailable(GatewayError):
    """A store of our own does not answer."""

    status = 503


class Collided(StoreUnavailable):
    """Two transactions were in each other's way and this one gave in; the same again may go well at once."""


class IdentityProviderFailed(GatewayError):
    """The login provider does not answer, or answers what cannot be used."""

    status = 502


class ConfigurationError(Exception):
    """The settings cannot work together; raised at start with one sentence that says what to change."""
