"""What the routes under `/api/v1` share: the shape of errors, closed bodies, and lists in pieces."""

import inspect
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from fastapi import Depends, Query
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from backend.core.db.pages import MAX_LIMIT, MAX_SKIP, Page, PageQuery
from backend.core.errors import GatewayError
from backend.web.body import BodyLimits, read_request_body

Item = TypeVar("Item")

SIDE_API = "/api/v1/"
"""Where every route of the side API lies."""

_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})
_READING = frozenset({"GET", "HEAD"})


class Failure(BaseModel):
    """What every error under `/api/v1` looks like."""

    detail: str
    """What is wrong and what to do about it, in one sentence."""


class FieldProblem(BaseModel):
    """One field or parameter that cannot be taken as it is."""

    field: str
    message: str


class Invalid(Failure):
    """A 422 beside its sentence, which is the first problem's; without `errors` where no single field is meant."""

    errors: list[FieldProblem] = []


_EVERYWHERE = {
    400: "The request can never work as it stands.",
    401: "No valid credential, or a wrong one.",
    403: "The caller may not do this.",
    429: "Too many requests or attempts; see Retry-After.",
    503: "The store does not answer; try again.",
}
_OF_IDS = {404: "There is no such object for this caller."}
_OF_CHANGES = {409: "It exists already, or is still in use."}
_OF_BODIES = {413: "The body is too long."}
_OF_FIELDS = {422: "A field or parameter cannot be taken; `errors` names each."}


class SideRoute(APIRoute):
    """A route whose errors are `{"detail": "<sentence>"}`, with `errors` beside it where fields are wrong.

    A body that does not say it is JSON is refused: a form of a strange web page could send it. A list refuses
    parameters it does not have, since a misspelled filter would show everything.

    Policies come before anything else: nobody's body is read before it is known that they may send one. So a policy
    stands in `dependencies` of the route or its router, takes the request and nothing else, and may run twice.
    """

    limits: ClassVar = BodyLimits(body_bytes=2**20, body_seconds=30, write_stall_seconds=30)
    """What a request body may cost; a subclass may say more."""
    reads_body: ClassVar = True
    """Whether a body is read before the endpoint is called; a subclass whose endpoints read it themselves says no."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        told = _failures(path, frozenset(options.get("methods") or ("GET",)))
        if inspect.signature(endpoint).parameters.keys() - {"request", "response"}:
            told |= {status: {"model": Invalid, "description": words} for status, words in _OF_FIELDS.items()}
        options["responses"] = {**told, **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)

    @staticmethod
    def write_error(error: GatewayError) -> bytes:
        """Return the body of an error."""
        return msgspec.json.encode({"detail": error.message})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind the route's policies."""
        handle = super().get_route_handler()
        policies = [depends.dependency for depends in self.dependencies if depends.dependency is not None]
        known = frozenset(field.alias for field in get_flat_params(self.dependant))
        is_list = "skip" in known

        async def checked(request: Request) -> Response:
            for policy in policies:
                await policy(request)
            if is_list and (unknown := [name for name in request.query_params if name not in known]):
                raise RequestValidationError([{"type": "extra_forbidden", "loc": ("query", n)} for n in unknown])
            if request.method in _WITHOUT_BODY or not self.reads_body:
                return await handle(request)
            body = await read_request_body(request, self.limits)
            return await handle(Request(request.scope, _replay(body, request.receive)))

        return checked


def _failures(path: str, methods: frozenset[str]) -> dict[int | str, dict[str, Any]]:
    """Return what the document says of a route's errors: those of all routes, of ids, of changes, of bodies."""
    told = dict(_EVERYWHERE)
    if "{" in path:
        told |= _OF_IDS
    if not methods <= _READING:
        told |= _OF_CHANGES
    if not methods <= _WITHOUT_BODY:
        told |= _OF_BODIES
    return {status: {"model": Failure, "description": description} for status, description in sorted(told.items())}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read once more, and then what the server has to say."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message


class Body(BaseModel):
    """A request body: what it does not name is refused, what it is refused for is not repeated."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)


class Reply(BaseModel):
    """A reply body, read from a row's attributes; it holds what is named here and nothing else."""

    model_config = ConfigDict(from_attributes=True)


class PageReply(BaseModel, Generic[Item]):
    """One piece of a list."""

    items: list[Item]
    total: int
    skip: int
    limit: int


async def _page_query(
    skip: Annotated[int, Query(ge=0, le=MAX_SKIP, description="How many to pass over.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many to return.")] = 50,
) -> PageQuery:
    return PageQuery(skip, limit)


Paging = Annotated[PageQuery, Depends(_page_query)]
"""A list route's parameters `skip` and `limit`."""


def page_reply(reply: type[Reply], page: Page[Any]) -> dict[str, object]:
    """Return a page in the form of `PageReply[reply]`."""
    items = [reply.model_validate(item) for item in page.items]
    return {"items": items, "total": page.total, "skip": page.skip, "limit": page.limit}
