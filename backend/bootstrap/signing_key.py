"""The key that signs access tokens: from the settings, or made once in the data folder."""

import contextlib
import os
import secrets
from pathlib import Path

from backend.bootstrap.safety import check_signing_key, is_embedded
from backend.core.config import Settings
from backend.core.errors import ConfigurationError

_FILE = "jwt.key"


def signing_key(settings: Settings) -> bytes:
    """Return the key; raise `ConfigurationError` when it is weak, or when several gateways could not agree on one."""
    if settings.jwt_secret_key is not None:
        return check_signing_key(settings.jwt_secret_key.get_secret_value())
    if not is_embedded(settings):
        raise ConfigurationError(
            "JWT_SECRET_KEY must be set when DATABASE_URL is: every gateway on one database signs with the same key "
            "(for example the output of 'openssl rand -hex 32')"
        )
    return _kept_key(settings.data_dir / _FILE)


def _kept_key(path: Path) -> bytes:
    """Return the key in a file; made whole before it has its name, so that two starting at once agree on one."""
    if not path.exists():
        try:
            _make(path, secrets.token_hex(32))
        except OSError as error:
            reason = (error.strerror or "error").lower()
            raise ConfigurationError(f"{path} cannot be made: {reason}; correct its folder") from None
    try:
        return check_signing_key(path.read_text(encoding="ascii").strip())
    except (ConfigurationError, ValueError, OSError):
        raise ConfigurationError(f"{path} does not hold a key: remove it to have a new one made") from None


def _make(path: Path, key: str) -> None:
    """Keep a key under a name, unless somebody has just kept theirs."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    _write(fresh, key)
    try:
        with contextlib.suppress(FileExistsError):
            _give_name(fresh, path, key)
    finally:
        fresh.unlink()


def _give_name(fresh: Path, path: Path, key: str) -> None:
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links; who reads in mid-write is told that this is no key
        _write(path, key)


def _write(path: Path, key: str) -> None:
    """Write a new file, all of it or none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key)
    except OSError:
        path.unlink()
        raise
