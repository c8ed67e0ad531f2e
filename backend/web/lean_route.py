"""A FastAPI route for endpoints that take the request and return the response themselves.

Such an endpoint needs nothing of what FastAPI does around others (reading bodies, solving dependencies, validating and
serialising), which costs an eighth of a request's CPU. Its dependencies are policies: coroutines that take the request
and raise when the caller may not pass; they are awaited in order before the endpoint.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from backend.core.errors import GatewayError

Policy = Callable[[Request], Awaitable[object]]
ErrorWriter = Callable[[GatewayError], bytes]


class LeanRoute(APIRoute):
    """See the module; use as `APIRouter(route_class=LeanRoute)`."""

    write_error: ClassVar["staticmethod[[GatewayError], bytes] | None"] = None
    """Writes an error as the clients of this route expect it; None means as Ollama does. Set it in a subclass."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the policies and the endpoint as one coroutine function."""
        endpoint: Callable[[Request], Awaitable[Response]] = self.endpoint
        policies: list[Policy] = [_checked(depends.dependency) for depends in self.dependencies]
        _checked(endpoint)

        async def handle(request: Request) -> Response:
            for policy in policies:
                await policy(request)
            return await endpoint(request)

        return handle


def _checked(function: Callable[..., Any] | None) -> Callable[..., Any]:
    """Refuse at start what would silently not get its arguments."""
    if function is None or not inspect.iscoroutinefunction(function):
        raise TypeError(f"{function!r} must be a coroutine function")
    if list(inspect.signature(function).parameters) != ["request"]:
        raise TypeError(f"{function.__qualname__} must take the request and nothing else")
    return function
