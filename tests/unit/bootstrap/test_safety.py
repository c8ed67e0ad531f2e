"""Nothing starts that would let strangers spend the operator's money."""

from typing import Any

import pytest

from backend.bootstrap.safety import accepted_keys, is_loopback, registered_public_keys
from backend.core.config import Settings, load_settings
from backend.core.errors import ConfigurationError
from backend.features.auth.principal import EVERYTHING, Permission
from tests.fakes.cli_identity import CliIdentity

KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
ADMIN = "1a2b3c4d5e6f708192a3b4c5d6e7f809"
BOTH = "77e6d5c4b3a291807f6e5d4c3b2a1908"
LOOPBACK = ["127.0.0.1", "localhost", "::1", "127.9.9.9"]
PUBLIC = ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "example.org", "", "::ffff:127.0.0.1", "2130706433"]  # noqa: S104


def settings(auth: str, host: str, keys: str = "", *, admins: str = "", trusted: bool = False) -> Settings:
    server: Any = {"host": host, "trusted_network": trusted}
    return load_settings(None, auth=auth, server=server, api_keys=keys, admin_keys=admins)


def known(given: Settings) -> list[str] | None:
    """Return the keys that are accepted, whatever they allow."""
    keys = accepted_keys(given)
    return None if keys is None else list(keys)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_known_in_every_form(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_everything_else_counts_as_public(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize(("auth", "keys", "accepted"), [
    ("auto", "", None), ("auto", KEY, [KEY]), ("keys", KEY, [KEY]), ("open", "", None), ("open", KEY, None),
])  # fmt: skip
def test_on_loopback_keys_are_asked_when_there_are_some(
    host: str, auth: str, keys: str, accepted: list[str] | None
) -> None:
    assert known(settings(auth, host, keys)) == accepted


def test_a_gateway_that_is_told_to_ask_for_keys_and_has_none_says_the_ways_out() -> None:
    with pytest.raises(ConfigurationError, match=r"GATEWAY_AUTH=keys.*set GATEWAY_API_KEYS.*leave GATEWAY_AUTH out"):
        accepted_keys(settings("keys", "127.0.0.1"))


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("auth", ["auto", "keys"])
def test_a_public_bind_needs_keys(host: str, auth: str) -> None:
    assert known(settings(auth, host, KEY)) == [KEY]
    with pytest.raises(ConfigurationError, match="set GATEWAY_API_KEYS"):
        accepted_keys(settings(auth, host))


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("keys", ["", KEY])
def test_a_public_bind_is_never_open(host: str, keys: str) -> None:
    with pytest.raises(ConfigurationError, match="would let anybody use your models"):
        accepted_keys(settings("open", host, keys))


@pytest.mark.parametrize(("auth", "keys", "accepted"), [("auto", "", None), ("open", "", None), ("auto", KEY, [KEY])])
def test_a_trusted_network_is_as_good_as_loopback(auth: str, keys: str, accepted: list[str] | None) -> None:
    assert known(settings(auth, "0.0.0.0", keys, trusted=True)) == accepted  # noqa: S104


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_keys_use_models_and_admin_keys_manage_them_too(host: str) -> None:
    keys = accepted_keys(settings("auto", host, f"{KEY},{BOTH}", admins=f"{ADMIN},{BOTH}"))
    assert keys is not None
    assert keys[KEY] == {Permission.USE_MODELS}
    assert keys[ADMIN] == keys[BOTH] == EVERYTHING


def test_an_admin_key_alone_closes_the_gateway_too() -> None:
    assert known(settings("auto", "127.0.0.1", admins=ADMIN)) == [ADMIN]


def test_a_weak_admin_key_is_named_as_one() -> None:
    with pytest.raises(ConfigurationError, match="GATEWAY_ADMIN_KEYS is too weak"):
        accepted_keys(settings("auto", "127.0.0.1", KEY, admins="short"))


def test_asking_for_keys_without_having_one_is_refused_on_loopback_too() -> None:
    with pytest.raises(ConfigurationError):
        accepted_keys(settings("keys", "127.0.0.1"))


@pytest.mark.parametrize(
    "weak",
    ["short", "x" * 40, "abcabcabcabcabcabcabc", "changeme-0f9c2b7a5d3e8146", "my-SECRET-0f9c2b7a5d3e8146", KEY[:19]],
)
@pytest.mark.parametrize(("auth", "host"), [("auto", "127.0.0.1"), ("keys", "0.0.0.0"), ("open", "127.0.0.1")])  # noqa: S104
def test_a_weak_key_is_refused_everywhere_and_not_repeated(weak: str, auth: str, host: str) -> None:
    with pytest.raises(ConfigurationError, match="too weak") as caught:
        accepted_keys(settings(auth, host, f"{KEY},{weak}"))
    assert weak not in str(caught.value)
    assert KEY not in str(caught.value)


CALLER, OTHER = CliIdentity(1), CliIdentity(2)


@pytest.mark.parametrize("host", [*LOOPBACK, *PUBLIC])
@pytest.mark.parametrize("auth", ["auto", "keys"])
def test_public_keys_alone_close_the_gateway(host: str, auth: str) -> None:
    server: Any = {"host": host}
    assert accepted_keys(load_settings(None, auth=auth, server=server, public_keys=CALLER.line)) == {}


@pytest.mark.parametrize("separator", [",", "\n", "\n\n", ", ", ",\n"])
def test_public_keys_are_lines_with_or_without_names(separator: str) -> None:
    lines = separator.join([CALLER.line, f"ssh-ed25519 {OTHER.public_key}"])
    assert registered_public_keys(load_settings(None, public_keys=lines)) == [CALLER.public_key, OTHER.public_key]


@pytest.mark.parametrize(
    "line",
    [
        CALLER.public_key,
        f"ssh-rsa {CALLER.public_key}",
        "ssh-ed25519 AAAA name",
        "ssh-ed25519\t",
        f"ssh-ed25519 {CALLER.public_key[:-1]}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
@pytest.mark.parametrize("auth", ["auto", "open"])
def test_what_is_no_public_key_is_refused_at_start_and_not_repeated(line: str, auth: str) -> None:
    with pytest.raises(ConfigurationError, match="GATEWAY_PUBLIC_KEYS: entry 2 is not a line such as") as caught:
        accepted_keys(load_settings(None, auth=auth, public_keys=f"{OTHER.line},{line}"))
    assert line not in str(caught.value)
