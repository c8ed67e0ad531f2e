"""What tests of a served history ask again and again."""

from collections.abc import Mapping
from typing import Any

from tests.fixtures.team_gateway import TeamGateway

MODEL = "mistral-small-latest"


async def chats(gateway: TeamGateway, caller: str = "ana", **query: Any) -> list[dict[str, Any]]:
    """Return somebody's chats."""
    async with gateway.http(caller) as http:
        reply = await http.get("/api/v1/chats", params=query)
        assert reply.status_code == 200, reply.text
        found: list[dict[str, Any]] = reply.json()["items"]
        return found


async def messages(gateway: TeamGateway, chat: Mapping[str, Any], caller: str = "ana") -> list[dict[str, Any]]:
    """Return a chat's messages."""
    async with gateway.http(caller) as http:
        reply = await http.get(f"/api/v1/messages/chat/{chat['id']}")
        assert reply.status_code == 200, reply.text
        found: list[dict[str, Any]] = reply.json()["items"]
        return found


async def ask(gateway: TeamGateway, *said: dict[str, Any], caller: str = "ana", **options: Any) -> dict[str, Any]:
    """Ask by `/api/chat` in one piece."""
    headers = options.pop("headers", {})
    async with gateway.http(caller) as http:
        body = {"model": MODEL, "messages": said, "stream": False, **options}
        reply = await http.post("/api/chat", json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        answered: dict[str, Any] = reply.json()
        return answered
