"""A gateway as a process of its own, with keys made by its command line, and clients that note what they were told."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.fixtures.gateway import ROOT, Gateway

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


def all_chats(gateway: Gateway, key: str) -> list[dict[str, Any]]:
    pages = [get(gateway, key, f"/api/v1/chats?limit=100&skip={skip}")["items"] for skip in (0, 100)]
    return [chat for page in pages for chat in page]


def make_key(folder: Path, env: Mapping[str, str], email: str) -> str:
    """Make an administrator and return a key of theirs."""
    command(folder, env, "admin", "create", "--email", email, "--password", PASSWORD)
    return command(folder, env, "keys", "create", "--user", email, "--name", "test")
