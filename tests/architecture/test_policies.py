"""Every route says who may call it."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from backend.bootstrap.application import ROUTERS, build_application
from backend.core.config import load_settings
from backend.features.auth.deps import CALLERS, EVERYBODY

POLICIES = {CALLERS.dependency: "callers", EVERYBODY.dependency: "everybody"}
OPEN_TO_EVERYBODY = {
    "GET /",
    "HEAD /",
    "GET /api/version",
    "HEAD /api/version",
    "GET /healthz",
    "GET /readyz",
    "GET /connect",
}
"""Reviewed: none of these costs money or tells anything about models, keys or callers."""


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


def policies(route: APIRoute) -> list[str]:
    found = [POLICIES[dependency.call] for dependency in route.dependant.dependencies if dependency.call in POLICIES]
    return sorted(found)


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
