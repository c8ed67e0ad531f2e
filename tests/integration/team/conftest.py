"""A gateway whose callers are a team."""

from tests.fixtures.team_gateway import team_gateway

__all__ = ["team_gateway"]
