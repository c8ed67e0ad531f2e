"""Clients that are slow to import, or run elsewhere, wrapped so that a test reads like its client's own code."""

import importlib
import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.clients.questions import HELLO, SMALL
from tests.clients.served import CLIENT_SECONDS, Served

JS = Path(__file__).parent / "js"
INSTALL_SECONDS = 50
Call = Callable[..., dict[str, Any]]
LITELLM_WARNINGS = pytest.mark.filterwarnings("ignore:Items? '.* on TypedDict class '.*using the `ReadOnly` qualifier")
"""It makes pydantic warn about its own types, and takes the warning for a failed request."""
OFFLINE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "DO_NOT_TRACK": "1",
}
"""Without these LiteLLM asks GitHub for prices as soon as it is imported."""


class LlamaIndex:
    """The library, imported when its first test begins because that takes seconds."""

    def __init__(self) -> None:
        self.llms: Any = importlib.import_module("llama_index.llms.ollama")
        self.types: Any = importlib.import_module("llama_index.core.llms")
        self.tools: Any = importlib.import_module("llama_index.core.tools")
        self.prompts: Any = importlib.import_module("llama_index.core.prompts")

    def model(self, served: Served, name: str = SMALL, **more: Any) -> Any:
        client = ollama.Client(served.url, timeout=CLIENT_SECONDS, trust_env=False)
        return self.llms.Ollama(model=name, base_url=served.url, client=client, **more)

    def user(self, text: str) -> Any:
        return self.types.ChatMessage(role="user", content=text)

    def weather(self) -> Any:
        def get_weather(city: str) -> str:
            """Weather of a city."""
            return f"22 degrees in {city}"

        return self.tools.FunctionTool.from_defaults(get_weather)


class LiteLLM:
    """The library, imported when its first test begins because that takes seconds."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("litellm")
        self.module.suppress_debug_info = True
        self.module.telemetry = False
        logging.getLogger("LiteLLM").setLevel(
            logging.WARNING
        )  # else it prints what a root logger set up by others lets by
        self.error: type[Exception] = importlib.import_module("openai").APIError

    def ask(self, served: Served, model: str, messages: list[Any] | None = None, **more: Any) -> Any:
        return self.module.completion(
            model,
            messages=messages or HELLO,
            api_base=served.url,
            timeout=CLIENT_SECONDS,
            max_retries=0,
            _skip_mcp_handler=True,  # it would import a package that is not needed here
            **more,
        )


class JavaScript:
    """The JavaScript SDK, installed from its lock file into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "js"
        self._node = shutil.which("node") or "node"
        npm = shutil.which("npm") or "npm"
        shutil.copytree(JS, self._folder, ignore=shutil.ignore_patterns("node_modules"))
        self._run(INSTALL_SECONDS, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")

    def call(self, served: Served, method: str, request: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Make one call; return its `result`, or its `parts`, and the `error` if it threw."""
        given = {"host": served.url, "method": method, "request": request, **more}
        got = json.loads(self._run(CLIENT_SECONDS, self._node, "call.mjs", json.dumps(given)))
        assert isinstance(got, dict)
        return got

    def run(self, source: str) -> str:
        """Run a program of its own and return what it printed."""
        (self._folder / "program.mjs").write_text(source, encoding="utf-8")
        return self._run(CLIENT_SECONDS, self._node, "program.mjs")

    def _run(self, seconds: float, *command: str) -> str:
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
