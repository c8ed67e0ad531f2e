"""Quotas against a real server: never overdrawn, nothing held back at rest, whatever clients do."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from backend.features.audit.service import Caller
from backend.features.auth.principal import OPERATOR
from backend.features.history.models import StoredMessage
from backend.features.usage.limits import user_subject
from tests.clients import scripts
from tests.fixtures.counting import FULL, HI, MODEL, Counting, all_of, answer

SECONDS = 120.0
pytestmark = pytest.mark.timeout(180)
ASK = {"model": MODEL, "messages": HI, "stream": False, "options": {"num_predict": 9}}
"""Guessed at one token to read: ten are held back, ten are used."""


async def at_rest(counting: Counting, rows: int) -> None:
    """Wait until so many requests are written down and none is open."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = await counting.rows()
            if len(found) >= rows and all(row.status != "open" for row in found):
                return
            await asyncio.sleep(0.02)


async def test_two_hundred_requests_at_once_get_what_the_quota_allows_and_no_more(counting: Counting) -> None:
    key, subject = await counting.key(500)
    async with asyncio.timeout(SECONDS), counting.http(key) as http:
        replies = await asyncio.gather(*(http.post("/api/chat", json=ASK) for _ in range(200)))
    statuses = [reply.status_code for reply in replies]
    assert (statuses.count(200), statuses.count(429)) == (50, 150)
    await at_rest(counting, 50)
    assert await counting.window(subject) == (500, 0)
    rows = await counting.rows()
    assert len(rows) == len(counting.upstream.calls(scripts.CHAT)) == 50
    assert {(row.status, row.prompt_tokens, row.completion_tokens, row.reserved, row.subjects) for row in rows} == {
        ("ok", 7, 3, 0, "")
    }
    answers = select(StoredMessage).where(StoredMessage.role == "assistant")
    kept = await all_of(counting.container.database, answers)
    assert [message.status for message in kept] == ["complete"] * 50, "of what is refused the history knows nothing"


async def test_a_request_counts_for_its_key_and_its_user_or_for_neither(counting: Counting) -> None:
    wide, wide_subject = await counting.key(1_000)
    narrow, narrow_subject = await counting.key(10)
    await counting.container.usage.reports.put_quota(Caller(OPERATOR), counting.owner.id, 30)
    async with asyncio.timeout(SECONDS), counting.http(wide) as http, counting.http(narrow) as other:
        assert [(await other.post("/api/chat", json=ASK)).status_code for _ in range(2)] == [200, 429]
        assert [(await http.post("/api/chat", json=ASK)).status_code for _ in range(3)] == [200, 200, 429]
        told = (await http.post("/api/chat", json=ASK)).json()["error"]
    assert "the quota of your account, 30 tokens a day" in told
    assert await counting.window(wide_subject) == (20, 0)
    assert await counting.window(narrow_subject) == (10, 0)
    assert await counting.window(user_subject(counting.owner.id)) == (30, 0)


async def leave(http: httpx.AsyncClient, pieces: int) -> None:
    """Ask for a stream and leave after some of its pieces; 0 before the answer began."""
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(0.05 if pieces == 0 else 20):
            async with http.stream("POST", "/api/chat", json={**ASK, "stream": True}) as reply:
                if reply.status_code != 200:
                    return
                lines = reply.aiter_lines()
                for _ in range(pieces):
                    await anext(lines)


async def test_a_storm_of_clients_that_leave_holds_nothing_back(counting: Counting) -> None:
    key, subject = await counting.key(1_000_000)
    counting.upstream.script(scripts.CHAT, [answer(words=200, delay=0.02)])
    async with counting.http(key) as http:
        await asyncio.gather(*(leave(http, number % 4) for number in range(60)))
    await at_rest(counting, 1)
    rows = await counting.rows()
    assert {row.status for row in rows} <= {"interrupted", "ok"}
    spent, reserved = await counting.window(subject)
    assert (spent, reserved) == (sum(row.prompt_tokens + row.completion_tokens for row in rows), 0)
    assert all(row.completion_tokens < 200 for row in rows)


@pytest.mark.parametrize("told", ["-5", "1e400", "NaN", '"many"', "1e300", "true", "[]"])
async def test_whatever_an_upstream_counts_spoils_no_quota(counting: Counting, told: str) -> None:
    key, subject = await counting.key(1_000_000)
    counting.upstream.script(scripts.CHAT, [answer(told, told)])
    async with counting.http(key) as http:
        for stream in (True, False):
            with contextlib.suppress(httpx.RemoteProtocolError):  # what cannot be read is cut
                await http.post("/api/chat", json={**ASK, "stream": stream})
    await at_rest(counting, 2)
    rows = await counting.rows()
    spent, reserved = await counting.window(subject)
    assert (spent, reserved) == (sum(row.prompt_tokens + row.completion_tokens for row in rows), 0)
    assert all(0 <= row.prompt_tokens <= 100 and 0 <= row.completion_tokens <= 100 for row in rows)


async def test_an_answer_longer_than_was_held_back_is_charged_as_it_is(counting: Counting) -> None:
    key, subject = await counting.key(100)
    counting.upstream.script(scripts.CHAT, [answer(300, 400)])
    async with counting.http(key) as http:
        assert (await http.post("/api/chat", json=ASK)).status_code == 200
        assert (await http.post("/api/chat", json=ASK)).status_code == 429
    assert await counting.window(subject) == (700, 0)


async def test_a_failed_upstream_is_not_charged(counting: Counting) -> None:
    key, subject = await counting.key(100)
    counting.upstream.script(scripts.CHAT, [scripts.json_reply({"message": "no"}, 400)])
    async with counting.http(key) as http:
        assert (await http.post("/api/chat", json=ASK)).status_code == 400
    assert await counting.window(subject) == (0, 0)
    assert [row.status for row in await counting.rows()] == ["error"]


WIRES: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": HI},
    "/api/generate": {"prompt": "hi"},
    "/v1/chat/completions": {"messages": HI, "stream": True},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 9},
}


@pytest.mark.parametrize("path", WIRES)
async def test_every_wire_tells_in_its_own_words_which_quota_is_used_up_and_until_when(
    counting: Counting, path: str
) -> None:
    key, subject = await counting.key(12)
    async with counting.http(key) as http:
        first = await http.post(path, json={"model": MODEL, **WIRES[path]})
        assert first.status_code == 200, first.text
        reply = await http.post(path, json={"model": MODEL, **WIRES[path]})
    assert reply.status_code == 429, reply.text
    assert 1 <= int(reply.headers["retry-after"]) <= 86_400
    error = reply.json()["error"]
    sentence = error if path.startswith("/api/") else error["message"]
    assert sentence.startswith("the quota of this key, 12 tokens a day, has no room for this request: 10 used, about ")
    assert "it begins anew at 00:00 UTC, in " in sentence
    if path in {"/v1/chat/completions", "/v1/responses"}:
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    if path == "/v1/messages":
        assert error["type"] == "rate_limit_error"
    assert await counting.window(subject) == (10, 0)


async def test_a_request_that_no_day_has_room_for_is_told_so(counting: Counting) -> None:
    key, _ = await counting.key(100)
    async with counting.http(key) as http:
        long = await http.post("/api/chat", json={**ASK, "messages": [{"role": "user", "content": "word " * 500}]})
        greedy = await http.post("/api/chat", json={**ASK, "options": {"num_predict": 1_000}})
        unbounded = await http.post("/api/chat", json={**ASK, "options": {"num_predict": -1}})
    assert (long.status_code, greedy.status_code, unbounded.status_code) == (400, 400, 200)
    assert "to read alone: shorten it" in long.json()["error"]
    assert "ask for a shorter answer" in greedy.json()["error"]
    assert len(await counting.rows()) == 1


async def test_vectors_and_speech_are_counted(counting: Counting) -> None:
    key, subject = await counting.key(100_000)
    vectors = {"data": [{"index": 0, "embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 11}}
    counting.upstream.script(scripts.EMBEDDINGS, [scripts.json_reply(vectors)])
    heard = {"text": "hello", "usage": {"prompt_tokens": 20, "completion_tokens": 5}}
    counting.upstream.script(scripts.TRANSCRIPTIONS, [scripts.json_reply(heard)])
    async with counting.http(key) as http:
        assert (await http.post("/api/embed", json={"model": "mistral-embed", "input": "hi"})).status_code == 200
        wav = b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\x00" * 40
        reply = await http.post(
            "/v1/audio/transcriptions", data={"model": "voxtral-mini-latest"}, files={"file": ("a.wav", wav)}
        )
        assert reply.status_code == 200, reply.text
    rows = await counting.rows()
    assert [(row.kind, row.prompt_tokens, row.completion_tokens) for row in rows] == [
        ("embed", 11, 0),
        ("transcription", 20, 5),
    ]
    assert await counting.window(subject) == (36, 0)


async def test_what_is_kept_says_who_asked_for_what(counting: Counting) -> None:
    key, subject = await counting.key()
    async with counting.http(key) as http:
        await http.post("/api/chat", json=ASK, headers={"x-request-id": "abc-1"})
    await at_rest(counting, 1)
    [row] = await counting.rows()
    assert (row.user_id, row.key_id, row.of_account, row.request_id) == (counting.owner.id, subject, True, "abc-1")
    assert (row.kind, row.model, row.backend, row.backend_model) == ("chat", FULL, "mistral", MODEL)
    assert (row.cost, row.currency, row.agent_id) == (None, "", None)
    assert row.finished_at >= row.at
    assert row.ms >= 0


async def test_what_the_upstream_counted_is_what_the_ledger_has(counting: Counting) -> None:
    key, subject = await counting.key(10**9)
    free, _ = await counting.key()
    replies = [answer(1 + number % 50, 1 + number % 7) for number in range(300)]
    counting.upstream.script(scripts.CHAT, [*replies, answer(0, 0)])
    paths = [*WIRES]

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        path = paths[number % len(paths)]
        body = {"model": MODEL, **WIRES[path]}
        reply = await http.post(path, json=body)
        assert reply.status_code == 200, reply.text

    async with asyncio.timeout(SECONDS), counting.http(key) as http, counting.http(free) as other:
        for start in range(0, 300, 50):
            await asyncio.gather(*(ask(http if n % 3 else other, n) for n in range(start, start + 50)))
    await at_rest(counting, 300)
    rows = await counting.rows()
    assert sum(row.prompt_tokens for row in rows) == sum(1 + number % 50 for number in range(300))
    assert sum(row.completion_tokens for row in rows) == sum(1 + number % 7 for number in range(300))
    assert (await counting.window(subject))[0] == sum(
        row.prompt_tokens + row.completion_tokens for row in rows if row.key_id == subject
    )
