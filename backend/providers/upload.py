"""A request body that is sent on while it is still coming in."""

from collections.abc import AsyncIterator, Callable

import httpx

from backend.core.errors import GatewayError, InvalidRequest
from backend.llm.errors import ProviderTimeout


class Upload(httpx.AsyncByteStream):
    """Hands pieces to the HTTP client one by one and remembers why they ended, which the client does not tell.

    The client asks for the next piece when its send buffer has room, so a slow upstream slows the sender down.
    """

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.on_progress: Callable[[], None] = _ignore
        """Told whenever a piece came in or was taken."""
        self._pieces = pieces
        self._is_waiting = False
        self._failure: Exception | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        self.on_progress()
        self._is_waiting = True
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._is_waiting = False
            raise
        except Exception as error:
            self._failure = error
            raise
        self._is_waiting = False
        self.on_progress()
        return piece

    def explain(self, error: GatewayError, idle: float) -> Exception:
        """Return why the upload really failed: by whoever sends the pieces, or else by `error`."""
        if self._failure is not None:
            return self._failure
        if isinstance(error, ProviderTimeout) and self._is_waiting:
            return InvalidRequest(f"the upload stalled for more than {idle:g} s; send it again")
        return error


def _ignore() -> None:
    """Nobody watches."""
