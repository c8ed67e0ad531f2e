"""Writes `docs/configuration.md`, `.env.example` and `docs/api.md`; with `--check`, says if they are current."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from backend.cli.api_reference import api_page
from backend.core.config import CONFIG_FILE_VARIABLE, BackendSettings, Settings, public_name

_ROOT = Path(__file__).parents[2]
_INTRO = """# Configuration

Generated from `backend/core/config.py` by `make docs`; change it there.

Settings come from the environment first, then from a file `.env` in the folder the gateway is started in, then from
`gateway.yaml` there (another place by `GATEWAY_CONFIG`). Lists are written with commas. An unknown `GATEWAY_*` name
refuses to start. In `gateway.yaml` the names are nested: `GATEWAY_TIMEOUTS__IDLE_SECONDS` is `idle_seconds` under
`timeouts`.
"""
_BACKENDS = """
## Many backends

`GATEWAY_BACKENDS__<NAME>__<FIELD>` adds a backend under a name of yours; in `gateway.yaml`:

```yaml
backends:
  lab:
    kind: llamacpp
    base_url: http://lab:8080
    capabilities: [completion, tools, vision]
```

Capabilities: `completion`, `tools`, `insert`, `vision`, `embedding`, `thinking`, `audio`. Kinds: `mistral`, `ollama`,
`vllm`, `llamacpp`, `lmstudio`, `openai`, `generic`. Backends of one kind that offer the same model share its load; of
two kinds with the same model name the first one counts: Mistral, Ollama, vLLM, OpenAI, then your own.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as users see it."""

    name: str
    default: str
    description: str


def list_settings() -> dict[str, list[Entry]]:
    """Return every setting by section, in the order of the code."""
    sections: dict[str, list[Entry]] = {"Backends and basics": []}
    for field_name, field in Settings.model_fields.items():
        if field_name == "backends":
            continue
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            title = (group.__doc__ or field_name).strip().split("\n", 1)[0].rstrip(".")
            sections[title] = list(_entries(f"GATEWAY_{field_name.upper()}__", group))
        else:
            name = public_name(field_name, field)
            sections["Backends and basics"].append(Entry(name, _default(field), field.description or ""))
    sections["Fields of one further backend"] = list(_entries("GATEWAY_BACKENDS__<NAME>__", BackendSettings))
    return sections


def configuration_page() -> str:
    """Return `docs/configuration.md`."""
    lines = [_INTRO]
    for title, entries in list_settings().items():
        lines += [f"## {title}", "", "| name | default | meaning |", "|---|---|---|"]
        lines += [f"| `{e.name}` | {f'`{e.default}`' if e.default else ''} | {e.description} |" for e in entries]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n" + _BACKENDS


def env_example() -> str:
    """Return `.env.example`: every setting with its default, commented out."""
    lines = [
        "# Passerelle's settings with their defaults; copy to .env and take the # away where you change something.",
        "# Generated from backend/core/config.py by `make docs`.",
        f"# {CONFIG_FILE_VARIABLE} names a YAML file with settings; default: gateway.yaml.",
    ]
    for title, entries in list_settings().items():
        lines += ["", f"# --- {title} ---"]
        lines += [line for e in entries for line in (f"# {e.description}", f"#{e.name}={e.default}")]
    return "\n".join(lines) + "\n"


def _entries(prefix: str, group: type[BaseModel]) -> Iterator[Entry]:
    for name, field in group.model_fields.items():
        yield Entry(prefix + name.upper(), _default(field), field.description or "")


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value is PydanticUndefined or isinstance(value, SecretStr):
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> int:
    """Write the files, or compare them."""
    pages = {
        _ROOT / "docs" / "configuration.md": configuration_page(),
        _ROOT / "docs" / "api.md": api_page(),
        _ROOT / ".env.example": env_example(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" not in sys.argv:
        for path in stale:
            path.write_text(pages[path], encoding="utf-8")
        return 0
    for path in stale:
        sys.stderr.write(f"{path.relative_to(_ROOT)} is not what the code says: run 'make docs'\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
