"""Refuses to start in a way that would let strangers spend the operator's money."""

import ipaddress
from collections.abc import Iterable, Iterator

from pydantic import SecretStr

from backend.core.config import Settings
from backend.core.errors import ConfigurationError
from backend.features.auth.identities import is_public_key
from backend.features.auth.principal import CALLER, EVERYTHING, Permission
from backend.features.auth.service import MIN_KEY_LENGTH

_WEAK = ("changeme", "change-me", "secret", "password", "your-key", "sk-1234")
_MIN_DIFFERENT = 8
_LINE_WORDS = 2


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address we bind."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def accepted_keys(settings: Settings) -> dict[str, frozenset[Permission]] | None:
    """Return the keys callers may show and what each allows, or None when anybody may call.

    It is empty where callers are known by their public keys alone, see `registered_public_keys`.

    Raises `ConfigurationError` for anonymous access on a public bind, and for missing, weak or unreadable keys.
    """
    is_private = is_loopback(settings.server.host) or settings.server.trusted_network
    keys = dict.fromkeys(_checked("GATEWAY_API_KEYS", settings.api_keys), CALLER)
    keys |= dict.fromkeys(_checked("GATEWAY_ADMIN_KEYS", settings.admin_keys), EVERYTHING)
    knows_somebody = bool(keys) or bool(registered_public_keys(settings))
    if settings.auth == "open" or (settings.auth == "auto" and not knows_somebody and is_private):
        if not is_private:
            raise ConfigurationError(
                f"GATEWAY_AUTH=open on {settings.server.host} would let anybody use your models: set GATEWAY_API_KEYS "
                "and GATEWAY_AUTH=keys, or bind 127.0.0.1"
            )
        return None
    if not knows_somebody:
        asked, way_out = (
            ("GATEWAY_AUTH=keys wants keys and there is none", "leave GATEWAY_AUTH out")
            if is_private
            else (f"callers from outside need a key when {settings.server.host} is bound", "bind 127.0.0.1")
        )
        raise ConfigurationError(
            f"{asked}: set GATEWAY_API_KEYS (for example to the output of 'openssl rand -hex 32'), or {way_out}"
        )
    return keys


def registered_public_keys(settings: Settings) -> list[str]:
    """Return the public keys of callers, without their names; raise `ConfigurationError` for what is none."""
    keys = []
    for number, line in enumerate(settings.public_keys, start=1):
        words = line.split()
        if len(words) < _LINE_WORDS or words[0] != "ssh-ed25519" or not is_public_key(words[1]):
            raise ConfigurationError(
                f"GATEWAY_PUBLIC_KEYS: entry {number} is not a line such as 'ssh-ed25519 AAAA... name'; "
                "copy it from the caller's ~/.ollama/id_ed25519.pub"
            )
        keys.append(words[1])
    return keys


def _checked(name: str, secrets: Iterable[SecretStr]) -> Iterator[str]:
    for secret in secrets:
        _check_strength(name, secret.get_secret_value())
        yield secret.get_secret_value()


def _check_strength(name: str, key: str) -> None:
    is_weak = len(set(key)) < _MIN_DIFFERENT or any(word in key.lower() for word in _WEAK)
    if len(key) < MIN_KEY_LENGTH or is_weak:
        raise ConfigurationError(
            f"a key in {name} is too weak: use {MIN_KEY_LENGTH} random characters or more, "
            "for example the output of 'openssl rand -hex 32'"
        )
