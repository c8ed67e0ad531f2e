"""A machine that loses its power: what clients were told is complete had reached the disk (DL-02).

No power is cut here. A library below the gateway keeps what the process had synchronised of each file, and nothing
else is left for the next start: a disk at its worst.
"""

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.clients.scripts import CHAT, answer, mistral_models
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures import gateway as gateways
from tests.fixtures.gateway import run_gateway
from tests.integration.history.process import all_chats, ask, get, make_key

SOURCE = Path(gateways.__file__).with_name("power_cut.c")
COMPILER = shutil.which("cc")
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler for what keeps synchronised files"),
]


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """Build what keeps synchronised files."""
    built = tmp_path / "power_cut.so"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", built, SOURCE, "-ldl"], check=True, timeout=60)
    return built


def test_every_acknowledged_answer_outlives_a_loss_of_power(tmp_path: Path, shim: Path) -> None:
    disk, data = tmp_path / "disk", tmp_path / "data"
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        upstream.script(CHAT, [answer("an ", "answer")])
        env = {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        key = make_key(tmp_path, env, "ana@example.org")
        disk.mkdir()
        shutil.copy(data / "passerelle.db", disk)
        acknowledged: list[tuple[str, str]] = []
        with run_gateway(tmp_path, {**env, "LD_PRELOAD": str(shim), "POWER_CUT_DIR": str(disk)}) as gateway:
            asking = [threading.Thread(target=ask, args=(gateway, key, f"q{n}", acknowledged)) for n in range(40)]
            for thread in asking:
                thread.start()
            while len(acknowledged) < 15 and any(thread.is_alive() for thread in asking):
                asking[-1].join(0.005)
            os.kill(gateway.process.pid, signal.SIGKILL)
            for thread in asking:
                thread.join(30)
        assert (disk / "passerelle.db-wal").exists()
        for lost in data.glob("passerelle.db*"):
            lost.unlink()
        for kept in disk.glob("passerelle.db*"):
            if kept.suffix != ".part":
                shutil.copy(kept, data)
        with run_gateway(tmp_path, env) as gateway:
            chats = [get(gateway, key, f"/api/v1/chats/{chat['id']}")["messages"] for chat in all_chats(gateway, key)]
    assert len(acknowledged) >= 15
    answers = [(messages[0]["content"], *[(m["content"], m["status"]) for m in messages[1:]]) for messages in chats]
    for question, said in acknowledged:
        assert [found for found in answers if found[0] == question] == [(question, (said, "complete"))]
