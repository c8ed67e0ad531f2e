"""A running gateway together with the upstream behind it."""

from dataclasses import dataclass

from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.gateway import Gateway

CLIENT_SECONDS = 20.0
KEY = "passerelle-client-key-0123456789"
"""What the gateway of the tests with keys wants."""


@dataclass(frozen=True)
class Served:
    """A running gateway and the one upstream behind it."""

    gateway: Gateway
    upstream: ScriptedUpstream

    @property
    def url(self) -> str:
        return self.gateway.url
