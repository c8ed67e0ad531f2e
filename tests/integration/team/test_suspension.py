"""Whoever is suspended loses the answers that run: an error in the client's own format, a cut, a closed upstream."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from backend.bootstrap import ground
from backend.core.db.database import Database, database_url
from backend.features.accounts.models import User
from backend.features.auth.running import RunningCalls
from tests.clients.scripts import CHAT, golden
from tests.fakes.scripted_upstream import SSE, Piece, Reply
from tests.fakes.team import BOB
from tests.fixtures.team_gateway import TeamGateway

SECONDS = 15.0
MODEL = "mistral-small-latest"
HI = [{"role": "user", "content": "hi"}]
ENDED = "your access was ended"
ASKED: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": HI},
    "/api/generate": {"prompt": "hi"},
    "/v1/chat/completions": {"messages": HI, "stream": True},
    "/v1/responses": {"input": "hi", "stream": True},
    "/v1/messages": {"messages": HI, "stream": True, "max_tokens": 9},
}
LAST = {
    "/api/chat": '{"error":"',
    "/api/generate": '{"error":"',
    "/v1/chat/completions": 'data: {"error":{',
    "/v1/responses": "event: response.failed\n",
    "/v1/messages": "event: error\n",
}
"""How the error begins in each format."""


def endless() -> Reply:
    """A word, and then one more every 20 ms for longer than any test waits."""
    first, word, *_ = golden("mistral/text.sse").split(b"\n\n")
    return Reply(200, {"content-type": SSE}, (first + b"\n\n", *(Piece(word + b"\n\n", 0.02) for _ in range(3_000))))


@pytest.fixture
def upstream_streams(team_gateway: TeamGateway) -> TeamGateway:
    team_gateway.upstream.script(CHAT, [endless()])
    return team_gateway


async def suspend(gateway: TeamGateway, caller: str = "ada") -> None:
    async with gateway.http(caller) as http:
        reply = await http.patch(f"/api/v1/admin/users/{BOB.user_id}", json={"is_active": False})
        assert reply.status_code == 200, reply.text


async def read_to_the_cut(pieces: AsyncIterator[str]) -> str:
    """Return what came until the connection broke; fails when it ended as a whole answer does."""
    text = ""
    try:
        async for piece in pieces:
            text += piece
    except httpx.RemoteProtocolError:
        return text
    raise AssertionError("the answer ended as a whole one does")


async def upstream_is_left(gateway: TeamGateway) -> None:
    while gateway.upstream.disconnects == 0:  # noqa: ASYNC110 (the upstream lives in another thread)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", ASKED)
async def test_a_suspended_callers_stream_ends_at_once_with_an_error_and_a_cut(
    upstream_streams: TeamGateway, path: str
) -> None:
    async with (
        asyncio.timeout(SECONDS),
        upstream_streams.http("bob") as http,
        http.stream("POST", path, json={"model": MODEL, **ASKED[path]}) as reply,
    ):
        assert reply.status_code == 200
        pieces = reply.aiter_text()
        await anext(pieces)
        await suspend(upstream_streams)
        text = await read_to_the_cut(pieces)
        assert text.count(LAST[path]) == 1
        assert ENDED in text[text.index(LAST[path]) :]
        await upstream_is_left(upstream_streams)


async def test_an_answer_that_has_not_begun_becomes_a_refusal(upstream_streams: TeamGateway) -> None:
    async with asyncio.timeout(SECONDS), upstream_streams.http("bob") as http:
        body = {"model": MODEL, "messages": HI, "stream": False}
        asked = asyncio.create_task(http.post("/api/chat", json=body))
        while not upstream_streams.upstream.calls(CHAT):  # noqa: ASYNC110 (the upstream lives in another thread)
            await asyncio.sleep(0.01)
        await suspend(upstream_streams)
        reply = await asked
        assert (reply.status_code, ENDED in reply.json()["error"]) == (401, True)
        await upstream_is_left(upstream_streams)


async def test_the_answers_of_others_go_on(upstream_streams: TeamGateway) -> None:
    async with (
        asyncio.timeout(SECONDS),
        upstream_streams.http("eve") as http,
        http.stream("POST", "/api/chat", json={"model": MODEL, "messages": HI}) as reply,
    ):
        lines = reply.aiter_lines()
        await anext(lines)
        await suspend(upstream_streams)
        for _ in range(10):
            assert ENDED not in await anext(lines)
    assert upstream_streams.upstream.disconnects == 0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after the changes of other processes twenty times a second instead of every half minute."""
    monkeypatch.setattr(ground, "RunningCalls", lambda: RunningCalls(0.05))


@pytest.mark.usefixtures("impatient")
async def test_a_suspension_by_another_process_is_noticed(upstream_streams: TeamGateway, tmp_path: Path) -> None:
    async with (
        asyncio.timeout(SECONDS),
        upstream_streams.http("bob") as http,
        http.stream("POST", "/api/chat", json={"model": MODEL, "messages": HI}) as reply,
    ):
        pieces = reply.aiter_text()
        await anext(pieces)
        other = Database(database_url(None, tmp_path / "data"))
        async with other.transaction() as transaction:
            await transaction.execute(update(User).where(User.id == BOB.user_id).values(is_active=False))
        await other.aclose()
        assert ENDED in await read_to_the_cut(pieces)
