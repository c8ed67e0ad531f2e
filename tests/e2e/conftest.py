"""The command line as a process, in a folder of its own with nothing inherited."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.fakes.scripted_upstream import ScriptedUpstream
from tests.fixtures.databases import postgres
from tests.fixtures.gateway import ROOT

__all__ = ["postgres"]

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
NO_OLLAMA = {"GATEWAY_SERVER__PORT": "11434"}
"""The gateway never asks itself: with Ollama's own port it looks for no Ollama on this machine."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `python -m backend` to its end with exactly this environment."""

    def start(
        *arguments: str, env: Mapping[str, str] | None = None, text: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        inherited = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "COVERAGE_PROCESS_START"}}
        return subprocess.run(
            [sys.executable, "-m", "backend", *arguments],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(env or {})},
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return start


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """An upstream whose answers the test writes."""
    with ScriptedUpstream() as up:
        yield up
