"""What a login provider is to the rest of the gateway: where people show who they are instead of at our own door."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LoginTicket:
    """The secrets of one login, from sending somebody to the provider until they are back."""

    state: str
    """Comes back with the person, so that nobody can be logged in by somebody else's link."""
    nonce: str
    """Comes back in the provider's token, so that a token of another login is of no use."""
    verifier: str
    """Shows the provider that whoever asks for the token is who sent the person (PKCE)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at the provider, on its word."""

    issuer: str
    subject: str
    """The provider's own id of the person; never given to anybody else."""
    verified_email: str | None
    """As the provider writes it; None unless it says that the address is the person's own."""
    name: str


class IdentityProvider(Protocol):
    """A login provider.

    Both methods raise `IdentityProviderFailed` when it does not answer, or answers what cannot be used. Nothing it says
    about an error is passed on.
    """

    async def login_url(self, ticket: LoginTicket) -> str:
        """Return the address to send somebody to; the verifier is not in it."""
        ...

    async def identify(self, code: str, ticket: LoginTicket) -> Identity:
        """Exchange the code somebody came back with; raise `NotAuthenticated` when it, or the answer, is not right."""
        ...
