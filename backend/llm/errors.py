"""What can go wrong at an upstream, and what the caller is told.

ProviderError 502
 |- ProviderRejected 400 (upstream 400/422)    ContextTooLong 400    UnsupportedFeature 400
 |- ModelNotFound 404                          ProviderDenied 403 (plan or guardrail: 402, 403 with a code)
 |- ProviderRateLimited 429 (retry_after)      ProviderUnavailable 503 (busy)   CircuitOpen 503 (left alone by us)
 |- ProviderUnreachable 502 (connect, DNS, TLS)
 |- ProviderTimeout 504                        ProviderAuthFailed 502 (never 401: the key is ours)
 |- ProviderFailed 502 (upstream 500)           ProviderBadGateway 502 (a proxy before it: 502, 504, 520)
 |- ProviderDisconnected 502 (after sending)    ModelWorkFailed 500 (create, push)   PullFailed 500 (a download)
 '- ProviderProtocolError 502 (unreadable answer, stream ended early)

Classified by status first, then by the body's code; by wording only for `ContextTooLong` and guardrails.
`retriable` says that the upstream did no work, so that trying once more costs nothing.
"""

from typing import ClassVar

from backend.core.errors import GatewayError


class ProviderError(GatewayError):
    """An upstream failed; the message names the backend and what to do, never the upstream's internals."""

    status = 502
    retriable: ClassVar[bool] = False
    counts_against_backend: ClassVar[bool] = True
    """Whether the circuit breaker should hold this against the backend."""


class ProviderRejected(ProviderError):
    """The upstream read the request and refused it; `fields` names the refused body fields, if it said which."""

    status = 400
    counts_against_backend = False

    def __init__(self, message: str, *, code: str = "", fields: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.code = code
        self.fields = fields


class ContextTooLong(ProviderRejected):
    """The conversation does not fit the model's context."""


class UnsupportedFeature(ProviderError):
    """This backend cannot do what was asked; found before anything was sent."""

    status = 400
    counts_against_backend = False


class ModelNotFound(ProviderError):
    """No backend (or not this one) knows the model."""

    status = 404
    counts_against_backend = False


class ProviderDenied(ProviderError):
    """The upstream account may not do this (plan, budget, guardrail)."""

    status = 403
    counts_against_backend = False


class ProviderRateLimited(ProviderError):
    """The upstream asks us to slow down."""

    status = 429
    retriable = True
    counts_against_backend = False


class ProviderUnavailable(ProviderError):
    """The upstream is there but takes no work now."""

    status = 503
    retriable = True


class CircuitOpen(ProviderUnavailable):
    """Refused by ourselves: the backend keeps failing and is left alone for a while."""

    retriable = False
    counts_against_backend = False


class ProviderFailed(ProviderError):
    """The upstream answered with an internal error; whether work was done is unknown."""


class ProviderBadGateway(ProviderFailed):
    """A proxy before the upstream answered 502 or 504 instead of it."""

    retriable = True


class ProviderUnreachable(ProviderError):
    """No connection to the upstream could be made."""

    retriable = True


class ProviderDisconnected(ProviderError):
    """The connection broke after the request was sent; it may have cost money, so it is not tried again."""


class ProviderTimeout(ProviderError):
    """The upstream was silent for too long."""

    status = 504


class ProviderAuthFailed(ProviderError):
    """The upstream refused our own key."""

    counts_against_backend = False


class ModelWorkFailed(ProviderError):
    """An Ollama machine could not finish what it was doing with a model, and said why."""

    status = 500
    counts_against_backend = False


class PullFailed(ModelWorkFailed):
    """A model could not be downloaded; Ollama says 500 and clients match its text."""


class ProviderProtocolError(ProviderError):
    """The upstream's answer cannot be read, or ended before it was complete."""
