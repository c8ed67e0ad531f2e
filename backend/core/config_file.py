"""Reads the files settings come from: `.env` and `gateway.yaml`."""

import io
from collections.abc import Container
from pathlib import Path
from typing import Any

import yaml
from dotenv.parser import parse_stream

from backend.core.errors import ConfigurationError


def read_config_file(path: Path, known: Container[str]) -> dict[str, Any]:
    """Return the settings of a YAML file; raise `ConfigurationError` with one line about what is wrong in it.

    Args:
        path: the file.
        known: the names allowed at its top level; those below are checked with the settings themselves.
    """
    try:
        values = yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ConfigurationError(f"{path} is not YAML{where}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} must hold names and values, such as 'log_level: INFO'")
    for name in values:
        if name not in known:
            hint = f"write it as {str(name).lower()}" if str(name).lower() in known else "see docs/configuration.md"
            raise ConfigurationError(f"{path}: {name} is not a setting; {hint}")
    return values


def read_env_file(path: Path) -> dict[str, str | None]:
    """Return the names and values of a `.env` file, which may be absent; refuse one with a line that is neither."""
    if not path.exists():
        return {}
    values: dict[str, str | None] = {}
    for binding in parse_stream(io.StringIO(_read_text(path))):
        if binding.error:
            raise ConfigurationError(f"{path}: line {binding.original.line} is not NAME=value")
        if binding.key is not None:
            values[binding.key] = binding.value
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {(error.strerror or 'error').lower()}") from None
