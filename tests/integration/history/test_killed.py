"""A gateway that is killed: what clients were told is complete is kept, what was cut says so (DL-01)."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.clients.scripts import CHAT, answer, mistral_models
from tests.fakes.scripted_upstream import Piece, Reply, ScriptedUpstream
from tests.fixtures.gateway import run_gateway
from tests.integration.history.process import all_chats, ask, command, get, make_key

pytestmark = pytest.mark.timeout(300)
"""Many processes start here, one after the other."""


def endless() -> Reply:
    whole = answer("so ", "far")
    assert isinstance(whole.body, tuple)
    pieces = [piece for piece in whole.body if isinstance(piece, Piece)]
    return Reply(200, whole.headers, [*pieces[:-2], Piece(b": wait\n\n", 60)])


def test_every_acknowledged_answer_is_there_once_and_a_cut_one_is_interrupted(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        env = {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        key = make_key(tmp_path, env, "ana@example.org")
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


def test_an_erased_account_leaves_nothing_and_the_others_stay(tmp_path: Path) -> None:
    canary = "zuikaquorbelvint"
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        upstream.script(CHAT, [answer(f"I say {canary} too")])
        env = {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        keys = {name: make_key(tmp_path, env, f"{name}@example.org") for name in ("ana", "eve")}
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
