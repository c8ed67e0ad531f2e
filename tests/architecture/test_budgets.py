"""The house stays small and says what it is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from backend.core.config import BackendSettings, Settings

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "backend").rglob("*.py"))
MAX_FILE, MAX_FUNCTION, MAX_MAIN = 400, 50, 50
NAMELESS = {"utils", "helpers", "common", "manager", "base", "misc"}
FORBIDDEN = {
    "verify=False": re.compile(r"verify\s*=\s*False"),
    "aiter_lines": re.compile(r"aiter_lines"),
    "StreamingResponse": re.compile(r"import[^\n]*StreamingResponse|StreamingResponse\("),
    "BaseHTTPMiddleware": re.compile(r"import[^\n]*BaseHTTPMiddleware|BaseHTTPMiddleware\)"),
    "insecure": re.compile(r"""["']insecure["']\s*:"""),
}


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_fits_on_a_few_screens(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").split("\n"))
    assert lines <= (MAX_MAIN if file.name == "main.py" else MAX_FILE)


def long_functions() -> Iterator[str]:
    """Yield what is too long; a step of the tables' history is a list, and is not read again once it has run."""
    for file in FILES:
        if file.parent.name == "versions":
            continue
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    yield f"{name_of(file)}:{node.lineno} {node.name} has {length} lines"


def test_a_function_fits_on_one_screen() -> None:
    assert list(long_functions()) == []


def test_every_module_is_named_after_what_it_holds() -> None:
    assert [name_of(file) for file in FILES if {file.stem, file.parent.name} & NAMELESS] == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_module_says_what_it_is_for(file: Path) -> None:
    assert ast.get_docstring(parsed(file))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_would_break_a_promise_is_not_used(what: str) -> None:
    code = {file: _without_comments(file) for file in FILES}
    assert [name_of(file) for file, text in code.items() if FORBIDDEN[what].search(text)] == []


def _without_comments(file: Path) -> str:
    """Return the code without comments and docstrings."""
    tree = parsed(file)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                item for item in body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
            ] or [ast.Pass()]
    return ast.unparse(tree)


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{name_of(file)}:{node.lineno}"
        for file in FILES
        if "cli" not in file.parts
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "breakpoint"}
    ]
    assert printing == []


def settings_fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_fields(kind, f"{path}{name}.")
        else:
            yield f"{path}{name}", field.description


@pytest.mark.parametrize(
    ("name", "description"), [*settings_fields(Settings), *settings_fields(BackendSettings, "backends.*.")]
)
def test_every_setting_is_described(name: str, description: str | None) -> None:
    assert description, name
    assert description.rstrip()[-1] in ".)"
