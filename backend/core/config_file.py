"""Reads `gateway.yaml`."""

from collections.abc import Container
from pathlib import Path
from typing import Any

import yaml

from backend.core.errors import ConfigurationError


def read_config_file(path: Path, known: Container[str]) -> dict[str, Any]:
    """Return the settings of a YAML file; raise `ConfigurationError` with one line about what is wrong in it.

    Args:
        path: the file.
        known: the names allowed at its top level; those below are checked with the settings themselves.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}") from None
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
            raise ConfigurationError(f"{path}: {name} is not a setting; see docs/configuration.md for the names")
    return values
