"""Nothing starts that would let strangers spend the operator's money."""

from typing import Any

import pytest

from backend.bootstrap.safety import accepted_keys, is_loopback, registered_public_keys
from backend.core.config import Settings, load_settings
from backend.core.errors import ConfigurationError
from tests.fakes.cli_identity import CliIdentity

KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
LOOPBACK = ["127.0.0.1", "localhost", "::1", "127.9.9.9"]
PUBLIC = ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "example.org", "", "::ffff:127.0.0.1", "2130706433"]  # noqa: S104


def settings(auth: str, host: str, keys: str = "", *, trusted: bool = False) -> Settings:
    server: Any = {"host": host, "trusted_network": trusted}
    return load_settings(None, auth=auth, server=server, api_keys=keys)


def keys_of(values: Settings) -> list[str] | None:
    accepted = accepted_keys(values)
    return None if accepted is None else list(accepted)


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
    assert keys_of(settings(auth, host, keys)) == accepted


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("auth", ["auto", "keys"])
def test_a_public_bind_needs_keys(host: str, auth: str) -> None:
    assert keys_of(settings(auth, host, KEY)) == [KEY]
    with pytest.raises(ConfigurationError, match="set GATEWAY_API_KEYS"):
        accepted_keys(settings(auth, host))


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("keys", ["", KEY])
def test_a_public_bind_is_never_open(host: str, keys: str) -> None:
    with pytest.raises(ConfigurationError, match="would let anybody use your models"):
        accepted_keys(settings("open", host, keys))


@pytest.mark.parametrize(("auth", "keys", "accepted"), [("auto", "", None), ("open", "", None), ("auto", KEY, [KEY])])
def test_a_trusted_network_is_as_good_as_loopback(auth: str, keys: str, accepted: list[str] | None) -> None:
    assert keys_of(settings(auth, "0.0.0.0", keys, trusted=True)) == accepted  # noqa: S104


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
