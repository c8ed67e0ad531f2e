"""`passerelle erase` takes what agents remember of somebody, too."""

import time
from pathlib import Path

import httpx
import pytest

from tests.clients.scripts import CHAT, answer, mistral_models
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.gateway import run_gateway
from tests.integration.history.process import MODEL, PASSWORD, command

pytestmark = pytest.mark.timeout(300)
CANARY = "zuikaquorbelvint"
_SECONDS = 20.0


def remembered(client: httpx.Client) -> int:
    """Return how many exchanges are kept, once there are any."""
    until = time.monotonic() + _SECONDS
    while not (total := client.get("/api/v1/memories").json()["total"]) and time.monotonic() < until:
        time.sleep(0.05)
    return int(total)


def test_an_erased_account_leaves_no_memory(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        upstream.script(CHAT, [answer(f"I say {CANARY} too")])
        env = {"MISTRAL_API_KEY": "k", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        for name in ("ana", "eve"):
            command(tmp_path, env, "admin", "create", "--email", f"{name}@example.org", "--password", PASSWORD)
        key = command(tmp_path, env, "keys", "create", "--user", "eve@example.org", "--name", "test")
        with (
            run_gateway(tmp_path, env) as gateway,
            httpx.Client(
                base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, timeout=_SECONDS, trust_env=False
            ) as client,
        ):
            draft = {"name": "sailor", "model": MODEL, "learn_from_interaction": True}
            name = client.post("/api/v1/agents", json=draft).json()["model_name"]
            said = [{"role": "user", "content": f"do you know {CANARY}?"}]
            client.post("/api/chat", json={"model": name, "messages": said, "stream": False})
            assert remembered(client) == 1
        assert "gone" in command(tmp_path, env, "erase", "--email", "eve@example.org", "--yes")
        files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
