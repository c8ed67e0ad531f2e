"""What is known about one request before its body is read, beyond its wire format."""

import uuid
from dataclasses import dataclass

from backend.features.auth.principal import Principal


@dataclass(frozen=True, slots=True)
class CallContext:
    """Who asks, and in which conversation; goes with a request through the pipeline."""

    principal: Principal
    conversation: str = ""
    """The client's own id of the conversation, a word of printable ASCII; "" when it names none. Proves nothing: it is
    only ever looked up among the caller's own."""
    chat_id: uuid.UUID | None = None
    """The chat of ours that this continues, once the caller's right to it was checked."""
    request_id: str = "-"
