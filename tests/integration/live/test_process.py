"""Sockets of a real gateway process: nothing of what they carry is logged, and who uses none pays for none."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.fixtures.gateway import ROOT, Gateway, run_gateway
from tests.integration.live.conftest import PATH, SECONDS

CANARIES = (
    "canary-in-the-query-0001",
    "canary-in-the-payload-01",
    "canary-in-a-header-00001",
    "canary-in-the-path-00001",
)


async def knock(gateway: Gateway, query: str = "", prefix: str = "", **headers: str) -> list[str]:
    """Open a WebSocket, show a credential that is none, and return what was said; nothing when it was refused."""
    url = f"{gateway.url}{prefix}{PATH}/?EIO=4&transport=websocket{query}"
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
        try:
            socket = await session.ws_connect(url, headers=headers)
        except aiohttp.WSServerHandshakeError:
            return []
        await socket.receive_str()
        await socket.send_str("40" + json.dumps({"token": CANARIES[1]}))
        await socket.send_str('42["join_chat",{"chat_id":"x"}]')
        return [str(message.data) async for message in socket]


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
async def test_no_log_holds_what_a_socket_shows_or_says(tmp_path: Path, level: str) -> None:
    with run_gateway(tmp_path, {"GATEWAY_AUTH": "keys", "LOG_LEVEL": level}) as gateway:
        assert "not valid here" in (await knock(gateway))[0]
        assert await knock(gateway, query=f"&token={CANARIES[0]}") == []
        assert "two different" in (await knock(gateway, authorization=f"Bearer {CANARIES[2]}"))[0]
        assert "two different" in (await knock(gateway, prefix=f"/k/{CANARIES[3]}"))[0]
        assert await knock(gateway, origin="https://evil.example") == []
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=SECONDS) as http:
            polled = await http.get(f"{PATH}/", params={"EIO": "4", "transport": "polling", "token": CANARIES[0]})
            assert (polled.status_code, "query string is not read" in polled.text) == (401, True)
            assert (await http.get(f"{PATH}/", params={"EIO": "4", "transport": "polling"})).status_code == 200
            assert (await http.get("/ws/socket.iox")).status_code == 404
        log = gateway.log_text()
        assert not [canary for canary in CANARIES if canary in log]
        assert "Traceback" not in log
        assert f'"route": "{PATH}"' in log or f"route={PATH}" in log


def test_who_has_no_redis_and_no_socket_loads_neither_library() -> None:
    code = (
        "import asyncio, sys\n"
        "import backend.cli.serve\n"
        "from backend.bootstrap.container import open_container\n"
        "from backend.core.config import load_settings\n"
        "async def main():\n"
        "    async with open_container(load_settings(None)) as container:\n"
        "        print(sorted({'redis', 'socketio', 'engineio'} & sys.modules.keys()))\n"
        "asyncio.run(main())\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "GATEWAY_DATA_DIR": folder}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
