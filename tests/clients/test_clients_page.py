"""The page of clients tells what works: its programs are run as they stand there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.libraries import LITELLM_WARNINGS, JavaScript
from tests.clients.served import KEY, Served

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### (.+?)$(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
ADDRESS = "https://gateway.example"


def programs(language: str) -> dict[str, str]:
    """Return the page's code blocks in a language by the client they are about."""
    block = re.compile(rf"^```{language}$(.*?)^```$", re.MULTILINE | re.DOTALL)
    return {name: code for name, text in SECTION.findall(PAGE) for code in block.findall(text)}


def pointed_at(served: Served, code: str) -> str:
    return code.replace(ADDRESS, served.url).replace("KEY", KEY)


@LITELLM_WARNINGS
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # short programs do not close their clients
@pytest.mark.parametrize("client", programs("python"))
@pytest.mark.usefixtures("litellm")
def test_a_python_program_of_the_page_gets_its_answer(
    keyed: Served, client: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(pointed_at(keyed, programs("python")[client]), {})  # noqa: S102 (our own page)
    assert capsys.readouterr().out.strip() == "Bonjour"


def test_the_javascript_program_of_the_page_gets_its_answer(keyed: Served, javascript: JavaScript) -> None:
    (program,) = programs("js").values()
    assert javascript.run(pointed_at(keyed, program)).strip() == "Bonjour"


@pytest.mark.parametrize(("language", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_the_settings_of_the_page_can_be_read(language: str, read: Any) -> None:
    assert all(read(block) for block in programs(language).values())


def test_the_page_uses_one_address() -> None:
    hosts = set(re.findall(r"https?://(?:[^/\s`'\"@]+@)?([A-Za-z0-9.:-]+)", PAGE))
    assert hosts == {"gateway.example", "127.0.0.1:8000"}
