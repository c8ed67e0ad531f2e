"""A gateway that is killed: what clients were told is complete is kept, what was cut says so (DL-01)."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.clients.scripts import CHAT, answer, mistral_models
from tests.fakes.scripted_upstream import Piece, Reply, ScriptedUpstream
from tests.fixtures.gateway import ROOT, Gateway, run_gateway

pytestmark = pytest.mark.timeout(300)
"""Many processes start here, one after the other."""
MODEL = "mistral-small-latest"
PASSWORD = "a long enough password"  # noqa: S105 (of this test)


def command(folder: Path, env: Mapping[str, str], *arguments: str) -> str:
    """Run `passerelle` and return the last line it writes."""
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    settings = {**known, "PYTHONPATH": str(ROOT), "GATEWAY_DATA_DIR": str(folder / "data"), **env}
    run = [sys.executable, "-m", "backend", *arguments]
    done = subprocess.run(run, cwd=folder, env=settings, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().splitlines()[-1]


def get(gateway: Gateway, key: str, path: str) -> Any:
    request = urllib.request.Request(gateway.url + path, headers={"authorization": f"Bearer {key}"})  # noqa: S310 (ours)
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 (ours)
        return json.load(reply)


def ask(gateway: Gateway, key: str, question: str, acknowledged: list[tuple[str, str]]) -> None:
    """Ask, and note the answer once the client was told that it is complete."""
    with closing(HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as connection, suppress(OSError, ValueError):
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": question}]})
        connection.request("POST", "/api/chat", body, {"authorization": f"Bearer {key}"})
        said = ""
        for line in connection.getresponse():
            told = json.loads(line)
            said += told.get("message", {}).get("content", "")
            if told.get("done"):
                acknowledged.append((question, said))


def endless() -> Reply:
    whole = answer("so ", "far")
    assert isinstance(whole.body, tuple)
    pieces = [piece for piece in whole.body if isinstance(piece, Piece)]
    return Reply(200, whole.headers, [*pieces[:-2], Piece(b": wait\n\n", 60)])


def test_every_acknowledged_answer_is_there_once_and_a_cut_one_is_interrupted(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        env = {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        command(tmp_path, env, "admin", "create", "--email", "ana@example.org", "--password", PASSWORD)
        key = command(tmp_path, env, "keys", "create", "--user", "ana@example.org", "--name", "test")
        acknowledged: list[tuple[str, str]] = []
        for round_number in range(2):
            with run_gateway(tmp_path, env) as gateway:
                upstream.script(CHAT, [endless()])
                before = len(upstream.calls(CHAT))
                cut = threading.Thread(target=ask, args=(gateway, key, f"cut {round_number}", acknowledged))
                cut.start()
                while len(upstream.calls(CHAT)) == before and cut.is_alive():
                    cut.join(0.02)
                upstream.script(CHAT, [answer("an ", "answer")])
                questions = [f"{round_number}-{number}" for number in range(40)]
                asking = [threading.Thread(target=ask, args=(gateway, key, q, acknowledged)) for q in questions]
                already = len(acknowledged)
                for thread in asking:
                    thread.start()
                while len(acknowledged) < already + 10 and any(thread.is_alive() for thread in asking):
                    asking[-1].join(0.005)
                os.kill(gateway.process.pid, signal.SIGKILL)
                for thread in (*asking, cut):
                    thread.join(30)
        with run_gateway(tmp_path, env) as gateway:
            kept = [get(gateway, key, f"/api/v1/chats/{chat['id']}") for chat in all_chats(gateway, key)]
    assert len(acknowledged) >= 10
    answers = [
        (chat["messages"][0]["content"], message["content"], message["status"])
        for chat in kept
        for message in chat["messages"][1:]
    ]
    for question, said in acknowledged:
        assert [a for a in answers if a[0] == question] == [(question, said, "complete")]
    assert {status for *_, status in answers} <= {"complete", "interrupted"}
    assert [status for question, _, status in answers if question.startswith("cut")] == ["interrupted"] * 2
    for chat in kept:
        assert [message["seq"] for message in chat["messages"]] == [1, 2]


def all_chats(gateway: Gateway, key: str) -> list[dict[str, Any]]:
    pages = [get(gateway, key, f"/api/v1/chats?limit=100&skip={skip}")["items"] for skip in (0, 100)]
    return [chat for page in pages for chat in page]


def test_an_erased_account_leaves_nothing_and_the_others_stay(tmp_path: Path) -> None:
    canary = "zuikaquorbelvint"
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        upstream.script(CHAT, [answer(f"I say {canary} too")])
        env = {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        keys: dict[str, str] = {}
        for name in ("ana", "eve"):
            email = f"{name}@example.org"
            command(tmp_path, env, "admin", "create", "--email", email, "--password", PASSWORD)
            keys[name] = command(tmp_path, env, "keys", "create", "--user", email, "--name", "test")
        with run_gateway(tmp_path, env) as gateway:
            ask(gateway, keys["eve"], f"do you know {canary}?", [])
            assert len(get(gateway, keys["eve"], f"/api/v1/chats?q={canary}")["items"]) == 1
            upstream.script(CHAT, [answer("hello")])
            ask(gateway, keys["ana"], "hello", [])
        assert "gone" in command(tmp_path, env, "erase", "--email", "Eve@example.org", "--yes")
        files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        assert [path for path in files if canary.encode() in path.read_bytes()] == []
        stayed = [path for path in files if b"hello" in path.read_bytes()]
        assert stayed
