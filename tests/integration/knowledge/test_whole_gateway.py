"""A gateway as a process, its upstream a fake: documents in, cited answers out through stock clients, whatever ends."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.clients.scripts import CHAT, answer
from tests.fakes.embedding_upstream import EmbeddingUpstream
from tests.fixtures.gateway import ROOT, Gateway, run_gateway
from tests.integration.accounts.conftest import KEY
from tests.integration.knowledge.test_crashes import client_of, seed, texts

pytestmark = pytest.mark.timeout(240)
SECONDS = 60.0
PARKING = "Parking before the garage doors of building seven is forbidden on weekdays."
TURNS: Any = [{"role": "user", "content": "Where is parking before garage doors forbidden?"}]
OTHERS = ("bread is baked at dawn", "ships leave at noon", "stars are counted at night", "the canteen opens early")
LONG = "\n\n".join(f"# Part {n}\n\n" + f"Rule {n} about parking, leave and notice number {n}. " * 25 for n in range(60))


@pytest.fixture
def upstream() -> Iterator[EmbeddingUpstream]:
    with EmbeddingUpstream() as up:
        up.script(CHAT, [answer("Before building seven [1].")])
        yield up


@pytest.fixture
def key(tmp_path: Path) -> str:
    return asyncio.run(seed(tmp_path / "data"))


@pytest.fixture
def environment(upstream: EmbeddingUpstream) -> dict[str, str]:
    ours = {"GATEWAY_KNOWLEDGE__LEASE_SECONDS": "1", "GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS": KEY}
    return {**upstream.environment(), **ours}


def until(client: httpx.Client, path: str, **wanted: Any) -> dict[str, Any]:
    """Return what a path tells once it is so."""
    found: dict[str, Any] = {}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = client.get(path).json()
        if all(found[name] == value for name, value in wanted.items()):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def make_collection(client: httpx.Client, name: str = "laws") -> str:
    made: str = client.post("/collections", json={"name": name}).json()["id"]
    return made


def put(client: httpx.Client, place: str, text: str, name: str = "law.txt") -> str:
    fields = {"entity_type": "collection", "entity_id": place}
    reply = client.post("/documents/upload", data=fields, files={"file": (name, text.encode())})
    assert reply.status_code == 202, reply.text
    made: str = reply.json()["id"]
    return made


def ready(client: httpx.Client, document: str) -> dict[str, Any]:
    return until(client, f"/documents/{document}", status="ready")


def searched(client: httpx.Client, place: str, query: str) -> dict[str, Any]:
    found: dict[str, Any] = client.post(f"/collections/{place}/search", json={"query": query, "limit": 5}).json()
    return found


def rankings(client: httpx.Client, place: str) -> list[Any]:
    found = [searched(client, place, query) for query in ("parking doors", "ships stars", "canteen", "seven")]
    assert all(one["mode"] == "hybrid" for one in found), found
    return [[(p["document_id"], p["text"], round(p["score"], 4)) for p in one["passages"]] for one in found]


def prompt(upstream: EmbeddingUpstream) -> str:
    return json.dumps(upstream.calls(CHAT)[-1].body["messages"], ensure_ascii=False)


def test_uploaded_asked_and_cited_through_the_stock_clients(
    tmp_path: Path, key: str, upstream: EmbeddingUpstream, environment: dict[str, str]
) -> None:
    one_at_a_time = {**environment, "GATEWAY_LIMITS__CONCURRENT_REQUESTS": "1"}
    with run_gateway(tmp_path, one_at_a_time) as gateway, client_of(gateway, key) as client:
        place = make_collection(client)
        document = put(client, place, PARKING)
        for number, text in enumerate(OTHERS):
            ready(client, put(client, place, text, f"other{number}.txt"))
        ready(client, document)
        until(client, "/admin/knowledge/embedder", mode="hybrid", waiting=0)
        draft = {"name": "lex", "model": "mistral-small-latest", "collection_ids": [place]}
        assert client.post("/agents", json=draft).status_code == 201
        _ask_with_ollamas_client(gateway, key, upstream, document)
        _ask_with_openais_client(gateway, key, upstream)
        [chat, *_] = client.get("/chats").json()["items"]
        said = client.get(f"/messages/chat/{chat['id']}").json()["items"]
        answered = next(message for message in said if message["role"] == "assistant")
        kept = client.get(f"/messages/{answered['id']}/sources").json()
        assert (kept["message_id"], kept["chat_id"]) == (answered["id"], chat["id"])
        assert [(source["n"], source["document_id"]) for source in kept["sources"]][:1] == [(1, document)]
        assert "Traceback" not in gateway.log_text()


def _ask_with_ollamas_client(gateway: Gateway, key: str, upstream: EmbeddingUpstream, document: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    client = ollama.Client(gateway.url, headers=headers, timeout=SECONDS, trust_env=False)
    pieces = list(client.chat("me/lex", messages=TURNS, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == "Before building seven [1]."
    assert pieces[-1].done
    assert not hasattr(pieces[-1], "rag")
    assert client.chat("me/lex", messages=TURNS).message.content == "Before building seven [1]."
    assert PARKING in prompt(upstream)
    body = {"model": "me/lex", "messages": TURNS}
    raw = httpx.post(f"{gateway.url}/api/chat", json=body, headers=headers, timeout=SECONDS, trust_env=False)
    *before, last = [json.loads(line) for line in raw.text.splitlines()]
    assert not any("rag" in line for line in before)
    assert last["rag"]["mode"] == "hybrid"
    assert last["rag"]["sources"][0]["document_id"] == document
    assert PARKING not in raw.text


def _ask_with_openais_client(gateway: Gateway, key: str, upstream: EmbeddingUpstream) -> None:
    upstream.calls(CHAT).clear()
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=key, timeout=SECONDS, max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client:  # fmt: skip
        reply = client.chat.completions.create(model="me/lex", messages=TURNS)
        assert reply.choices[0].message.content == "Before building seven [1]."
        assert (reply.model_extra or {})["rag"]["sources"][0]["title"] == "law.txt"
        assert PARKING in prompt(upstream)


def test_an_index_that_is_gone_is_built_from_the_database_with_the_same_rankings(
    tmp_path: Path, key: str, upstream: EmbeddingUpstream, environment: dict[str, str]
) -> None:
    with run_gateway(tmp_path, environment) as gateway, client_of(gateway, key) as client:
        place = make_collection(client)
        for number, text in enumerate((PARKING, *OTHERS, LONG)):
            ready(client, put(client, place, text, f"document{number}.md"))
        until(client, "/admin/knowledge/embedder", mode="hybrid", waiting=0)
        before = rankings(client, place)
    asked = {text for text in upstream.embedded() if "\n" in text}
    shutil.rmtree(tmp_path / "data" / "chroma")
    upstream.reset()
    upstream.script(CHAT, [answer("x")])
    with run_gateway(tmp_path, environment) as gateway, client_of(gateway, key) as client:
        until(client, "/admin/knowledge/embedder", mode="hybrid", waiting=0)
        assert rankings(client, place) == before  # by comparing each, or by the new index: no matter
        deadline = time.monotonic() + SECONDS
        while not list((tmp_path / "data" / "chroma").glob("index-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        assert rankings(client, place) == before
        assert asked
        assert not asked & set(upstream.embedded())  # texts are embedded once
        assert "Traceback" not in gateway.log_text()


def test_documents_are_read_by_words_while_the_embedder_is_away_and_say_so(
    tmp_path: Path, key: str, upstream: EmbeddingUpstream, environment: dict[str, str]
) -> None:
    with run_gateway(tmp_path, environment) as gateway, client_of(gateway, key) as client:
        place = make_collection(client)
        ready(client, put(client, place, OTHERS[0], "first.txt"))
        until(client, "/admin/knowledge/embedder", mode="hybrid", waiting=0)
        upstream.is_away = True
        shown = ready(client, put(client, place, PARKING))
        assert shown["notice"].startswith("found by its words alone for now")
        assert "test-key" not in shown["notice"]
        found = searched(client, place, "parking garage doors")
        assert found["passages"][0]["text"] == PARKING
        assert client.get("/admin/knowledge/embedder").json()["waiting"] == 1
        upstream.is_away = False
        until(client, f"/documents/{shown['id']}", notice=None)
        assert searched(client, place, "garage doors parking")["mode"] == "hybrid"


def test_beside_a_running_gateway_the_command_leaves_the_work_to_it(
    tmp_path: Path, key: str, environment: dict[str, str]
) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "law.txt").write_text(PARKING)
    command = ("ingest", str(papers), "--collection", "laws", "--user", "ada@example.org")
    with run_gateway(tmp_path, environment) as gateway, client_of(gateway, key) as client:
        place = make_collection(client)
        ready(client, put(client, place, OTHERS[0], "first.txt"))
        until(client, "/admin/knowledge/embedder", mode="hybrid", waiting=0)
        done = _run(tmp_path, environment, *command)
        assert (done.returncode, "1 of 1 documents" in done.stdout) == (0, True), done.stderr
        [document] = [d for d in _documents(client, place) if d["filename"] == "law.txt"]
        assert (document["status"], document["notice"]) == ("ready", None)
        assert searched(client, place, "parking")["mode"] == "hybrid"
    (papers / "more.txt").write_text(OTHERS[1])
    done = _run(tmp_path, environment, *command)
    assert (done.returncode, "2 of 2 documents" in done.stdout) == (0, True), done.stderr
    with run_gateway(tmp_path, environment) as gateway, client_of(gateway, key) as client:
        assert {d["notice"] for d in _documents(client, place)} == {None}
        until(client, "/admin/knowledge/embedder", mode="hybrid", waiting=0)


def _documents(client: httpx.Client, place: str) -> list[dict[str, Any]]:
    asked = {"entity_type": "collection", "entity_id": place}
    found: list[dict[str, Any]] = client.get("/documents", params=asked).json()["items"]
    return found


def _run(folder: Path, environment: dict[str, str], *arguments: str) -> Any:
    clean = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG"}}
    ours = {"GATEWAY_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "backend", *arguments],
        cwd=folder, env={**clean, **ours}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


STAGES = ("uploaded", "extracted", "chunked", "embedded", "indexed", "switched")


def test_killed_in_every_stage_the_document_is_whole_and_there_once(
    tmp_path: Path, key: str, upstream: EmbeddingUpstream, environment: dict[str, str]
) -> None:
    upstream.seconds = 0.3
    document, place = "", ""
    for stage in STAGES:
        with run_gateway(tmp_path, environment) as gateway, client_of(gateway, key) as client:
            if not document:
                place = make_collection(client)
                document = put(client, place, LONG, "long.md")
            _wait_for_stage(client, document, stage)
            gateway.process.kill()
            gateway.process.wait(timeout=20)
    with run_gateway(tmp_path, environment) as gateway, client_of(gateway, key) as client:
        assert ready(client, document)["notice"] is None
        until(client, "/admin/knowledge/embedder", mode="hybrid", waiting=0)
        undisturbed = put(client, make_collection(client, "others"), LONG, "long.md")
        ready(client, undisturbed)
        assert texts(client, document) == texts(client, undisturbed)
        assert len(_documents(client, place)) == 1
        assert searched(client, place, "rule 17 parking")["mode"] == "hybrid"
        assert "Traceback" not in gateway.log_text()
    with sqlite3.connect(tmp_path / "data" / "passerelle.db") as database:
        counted = "select count(*), count(distinct document_id || ordinal), count(distinct text_hash) from chunks"
        every, different, hashes = database.execute(counted).fetchone()
        assert every == different
        assert database.execute("select count(*) from vectors").fetchone() == (hashes,)
        assert database.execute("select count(*) from chunk_terms").fetchone() == (every,)


def _wait_for_stage(client: httpx.Client, document: str, stage: str) -> None:
    """Return once a document is in a stage, or past it: some take no time."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        shown = client.get(f"/documents/{document}").json()
        assert shown["status"] != "failed", shown
        if shown["status"] == "ready" or STAGES.index(shown["stage"]) >= STAGES.index(stage):
            return
        time.sleep(0.005)
    raise AssertionError(shown)
