"""Refuses to start in a way that would let strangers spend the operator's money."""

from collections.abc import Iterable, Iterator

from pydantic import SecretStr

from backend.core.config import Settings
from backend.core.config_types import is_loopback
from backend.core.errors import ConfigurationError
from backend.features.auth.identities import is_public_key
from backend.features.auth.principal import CALLER, EVERYTHING, Permission
from backend.features.auth.service import MIN_KEY_LENGTH

_WEAK = ("changeme", "change-me", "secret", "password", "your-key", "sk-1234")
_MIN_DIFFERENT = 8
_LINE_WORDS = 2
MIN_SIGNING_KEY = 32


def accepted_keys(settings: Settings) -> dict[str, frozenset[Permission]] | None:
    """Return the keys callers may show and what each allows, or None when anybody may call.

    It is empty where callers are known by their accounts or public keys alone (see `registered_public_keys`).

    Raises `ConfigurationError` for anonymous access on a public bind, for weak or unreadable keys, and for admin keys
    that would protect nothing.
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
        if settings.admin_keys:
            raise ConfigurationError(
                "GATEWAY_AUTH=open looks at no key, so GATEWAY_ADMIN_KEYS would keep nobody from managing models: "
                "set GATEWAY_AUTH=keys, or remove the admin keys"
            )
        return None
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


def check_workers(settings: Settings) -> None:
    """Raise `ConfigurationError` when several processes would share stores that live in this folder."""
    if settings.server.workers > 1 and is_embedded(settings):
        raise ConfigurationError(
            f"{settings.server.workers} workers cannot share the embedded database: set DATABASE_URL to a PostgreSQL, "
            "or use one worker"
        )


def check_login_provider(settings: Settings) -> None:
    """Raise `ConfigurationError` for a login provider that is half configured."""
    oidc = settings.oidc
    if oidc.issuer is None:
        if oidc.client_id or oidc.client_secret is not None:
            raise ConfigurationError("GATEWAY_OIDC__ISSUER is missing: set it, or none of GATEWAY_OIDC__*")
        return
    if not oidc.client_id or oidc.client_secret is None or not oidc.client_secret.get_secret_value():
        raise ConfigurationError(
            "GATEWAY_OIDC__ISSUER needs GATEWAY_OIDC__CLIENT_ID and GATEWAY_OIDC__CLIENT_SECRET, as the provider gave "
            "them to you"
        )
    if not oidc.client_id.isascii() or not oidc.client_id.isprintable():
        raise ConfigurationError("GATEWAY_OIDC__CLIENT_ID holds characters that cannot be in an id")
    if settings.server.public_url is None:
        raise ConfigurationError(
            "GATEWAY_OIDC__ISSUER needs GATEWAY_SERVER__PUBLIC_URL: the provider sends people back there"
        )
    if "openid" not in oidc.scopes:
        raise ConfigurationError("GATEWAY_OIDC__SCOPES must hold openid, or the provider does not say who logs in")


def is_embedded(settings: Settings) -> bool:
    """Whether users are kept in a file of ours rather than on a database server."""
    url = settings.database_url
    return url is None or url.get_secret_value().startswith("sqlite")


def check_signing_key(key: str, name: str = "JWT_SECRET_KEY") -> bytes:
    """Return a key that tokens are signed with; raise `ConfigurationError` when it could be guessed."""
    is_weak = len(set(key)) < _MIN_DIFFERENT or any(word in key.lower() for word in _WEAK)
    if len(key) < MIN_SIGNING_KEY or is_weak:
        raise ConfigurationError(
            f"{name} is too weak: use {MIN_SIGNING_KEY} random characters or more, "
            "for example the output of 'openssl rand -hex 32'"
        )
    return key.encode()


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
