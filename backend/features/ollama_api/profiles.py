"""Where clients need opposite things: how replies differ for one of them, told by its User-Agent.

Nearly all clients are content with the same reply, and that is the aim. A row here needs a client that fails, or
misleads its user, with what another one needs. What merely one client reads belongs into everybody's reply.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """How replies to one client differ.

    Args:
        basename_as_asked: `general.basename` of `/api/show` is the name that was asked for, tag and all. GitHub Copilot
            labels a model with it, so that models of one base would look the same in its picker; for all others it is
            the base model's name, as in the model file.
    """

    basename_as_asked: bool = False


_EVERYBODY = ClientProfile()
_BY_AGENT = (("githubcopilotchat/", ClientProfile(basename_as_asked=True)),)
"""Rows of how a User-Agent begins, in lower case, and what its client needs."""


def profile_of(user_agent: str) -> ClientProfile:
    """Return what is known about the client that calls itself so."""
    name = user_agent.lower()
    return next((profile for start, profile in _BY_AGENT if name.startswith(start)), _EVERYBODY)
