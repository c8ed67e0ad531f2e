"""Hands the routes their service."""

from fastapi import Request

from backend.features.agents.service import AgentService


def agents_of(request: Request) -> AgentService:
    """Return the service of agents."""
    service: AgentService = request.state.container.agents
    return service
