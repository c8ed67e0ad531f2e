"""A copy of the data folder, made while the gateway runs, is the whole team again (DL-07)."""

import contextlib
import hashlib
import json
import sqlite3
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.scripts import CHAT, answer, mistral_models
from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.gateway import Gateway, run_gateway
from tests.integration.history.process import MODEL, PASSWORD, ask, command, get

pytestmark = pytest.mark.timeout(180)
EMAIL = "ada@example.org"
KEPT = ("users", "roles", "chats", "messages", "audit_entries", "alembic_version")
"""Tables in which nothing happens between the copy and the end of the gateway."""


def copy(data: Path, into: Path) -> None:
    """Do what docs/team.md says about backups."""
    into.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(data / "passerelle.db")) as source:
        source.execute("vacuum into ?", (str(into / "passerelle.db"),))
    (into / "jwt.key").write_bytes((data / "jwt.key").read_bytes())


def contents(data: Path) -> Mapping[str, str]:
    """Return a hash of every table."""
    with contextlib.closing(sqlite3.connect(data / "passerelle.db")) as database:
        names = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        rows = {name: sorted(map(repr, database.execute(f'select * from "{name}"'))) for name in names}  # noqa: S608
    return {name: hashlib.sha256("\n".join(found).encode()).hexdigest() for name, found in rows.items()}


def login(gateway: Gateway) -> Any:
    body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/api/v1/auth/login", body, headers)  # noqa: S310 (ours)
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 (ours)
        return json.load(reply)


def test_a_copy_in_an_empty_folder_has_everything_and_lets_everybody_in(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        upstream.defaults[CHAT] = answer("Bon", "jour")
        env = {"MISTRAL_API_KEY": "test-key", "MISTRAL_BASE_URL": upstream.url, "GATEWAY_AUTH": "keys"}
        command(first, env, "admin", "create", "--email", EMAIL, "--password", PASSWORD)
        key = command(first, env, "keys", "create", "--user", EMAIL, "--name", "laptop")
        acknowledged: list[tuple[str, str]] = []
        with run_gateway(first, env) as gateway:
            for number in range(3):
                ask(gateway, key, f"question {number}", acknowledged)
            before = get(gateway, key, "/api/v1/chats")
            copy(first / "data", second / "data")
        kept, copied = contents(first / "data"), contents(second / "data")
        assert {name: copied[name] for name in KEPT} == {name: kept[name] for name in KEPT}
        with run_gateway(second, env) as gateway:
            assert get(gateway, key, "/api/v1/chats") == before
            assert [said for _, said in acknowledged] == ["Bonjour"] * 3
            assert login(gateway)["access_token"]
            ask(gateway, key, "question 3", acknowledged)
            assert get(gateway, key, "/api/v1/chats")["total"] == 4
            assert get(gateway, key, "/api/tags")["models"][0]["name"].startswith(MODEL.split("-", maxsplit=1)[0])
