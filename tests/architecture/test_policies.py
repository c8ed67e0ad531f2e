"""Every route says who may call it, and every event of a socket who may send it."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import BaseRoute

from backend.bootstrap.application import ROUTERS, build_application
from backend.core.config import load_settings
from backend.features.auth.deps import CALLERS, EVERYBODY
from backend.features.auth.policies import ACCOUNTS, Requires
from backend.features.auth.running import RunningCalls
from backend.features.auth.service import Authenticator
from backend.features.live.bus import MemoryBus
from backend.features.live.commands import EVENTS, SocketPolicy
from backend.features.live.events import KINDS
from backend.features.live.sockets import LiveSockets
from backend.web.side_api import SideRoute

POLICIES = {CALLERS.dependency: "callers", EVERYBODY.dependency: "everybody", ACCOUNTS.dependency: "accounts"}
OPEN_TO_EVERYBODY = {
    *("GET /", "HEAD /", "GET /api/version", "HEAD /api/version", "GET /healthz", "GET /readyz", "GET /connect"),
    *(f"POST /api/v1/auth/{name}" for name in ("register", "login", "refresh", "bootstrap")),
    *("GET /api/v1/auth/oidc/login", "GET /api/v1/auth/oidc/callback"),
}
"""Reviewed: none of these costs money or tells anything about models, keys or callers; those that check a secret are
limited per address and per account."""


SOCKET_EVENTS = {
    **dict.fromkeys(("join_chat", "join_document", "join_collection"), "readers of the topic"),
    **dict.fromkeys(("leave_chat", "leave_document", "leave_collection"), "accounts"),
    "typing": "members of the chat's room",
    "renew": "accounts",
}
"""Reviewed: connecting needs an account; what leaves a room or renews a credential is about the socket itself."""


def walk(routes: list[BaseRoute]) -> Iterator[APIRoute]:
    """Yield every route of ours, those of included routers too, however deep."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            inner: Any = getattr(route, "original_router", route)
            yield from walk(list(inner.routes))


def application_routes() -> list[APIRoute]:
    return list(walk(list(build_application(load_settings(None)).routes)))


def router_routes() -> list[APIRoute]:
    return [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def policy_of(call: Any) -> str | None:
    return f"permitted to {call.permission}" if isinstance(call, Requires) else POLICIES.get(call)


def policies(route: APIRoute) -> list[str]:
    found = [policy_of(dependency.call) for dependency in route.dependant.dependencies]
    return sorted(policy for policy in found if policy is not None)


def labels(route: APIRoute) -> set[str]:
    return {f"{method} {route.path}" for method in route.methods}


def label(route: APIRoute) -> str:
    return ",".join(sorted(labels(route)))


def test_the_walk_finds_the_routes_of_every_router() -> None:
    served = {name for route in application_routes() for name in labels(route)}
    assert served == {name for route in router_routes() for name in labels(route)}
    assert {"POST /api/chat", "GET /"} <= served


@pytest.mark.parametrize("route", router_routes(), ids=label)
def test_every_route_declares_exactly_one_policy(route: APIRoute) -> None:
    assert len(policies(route)) == 1


def test_the_routes_open_to_everybody_are_the_reviewed_ones() -> None:
    public = {name for route in router_routes() if policies(route) == ["everybody"] for name in labels(route)}
    assert public == OPEN_TO_EVERYBODY


def test_no_route_describes_the_gateway_to_strangers() -> None:
    served = {route.path for route in application_routes()}
    assert served.isdisjoint({"/docs", "/redoc", "/openapi.json"})


def test_no_route_is_declared_twice() -> None:
    names = [name for route in router_routes() for name in labels(route)]
    assert len(names) == len(set(names))


def test_the_side_api_checks_its_policies_before_it_reads_a_body() -> None:
    for route in router_routes():
        if route.path.startswith("/api/v1/"):
            assert isinstance(route, SideRoute)
            assert [policy_of(depends.dependency) for depends in route.dependencies] == policies(route), label(route)


def test_administration_needs_a_permission() -> None:
    administered = [route for route in router_routes() if route.path.startswith("/api/v1/admin/")]
    assert administered
    assert all(policies(route)[0].startswith("permitted to ") for route in administered)


SECRET_NAMES = ("password", "hash", "secret", "token_version", "oidc_subject")


def test_no_reply_names_a_column_that_holds_a_secret() -> None:
    for route in router_routes():
        model = route.response_model
        fields = model.model_json_schema() if isinstance(model, type) and issubclass(model, BaseModel) else {}
        named = {name for part in [fields, *fields.get("$defs", {}).values()] for name in part.get("properties", {})}
        assert not [name for name in named if any(word in name for word in SECRET_NAMES)], label(route)


def test_every_event_of_a_socket_has_the_reviewed_policy() -> None:
    assert {name: command.policy for name, command in EVENTS.items()} == SOCKET_EVENTS
    assert all(isinstance(command.policy, SocketPolicy) for command in EVENTS.values())


class Nobody:
    """Nobody may read anything."""

    async def may_read(self, *_asked: object) -> bool:
        return False


async def test_sockets_take_no_other_events() -> None:
    sockets = LiveSockets(Authenticator([]), RunningCalls(), MemoryBus(), dict.fromkeys(KINDS, Nobody()))
    sockets._build(importlib.import_module("socketio"))
    assert set(sockets.server.handlers) == {"/"}
    assert set(sockets.server.handlers["/"]) == {*SOCKET_EVENTS, "connect", "disconnect", "*"}
    assert sockets.server.namespace_handlers == {}
    refused = await sockets.server.handlers["/"]["*"]("anything", "sid", {})
    assert set(refused) == {"error"}
