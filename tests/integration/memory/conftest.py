"""Memories on both databases, and a gateway whose callers are a team."""

from tests.fixtures.databases import postgres
from tests.fixtures.statements import statements
from tests.fixtures.team_gateway import team_gateway
from tests.integration.retrieval.conftest import address, database

__all__ = ["address", "database", "postgres", "statements", "team_gateway"]
