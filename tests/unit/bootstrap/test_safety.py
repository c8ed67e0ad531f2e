"""Nothing starts that would let strangers spend the operator's money."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from backend.bootstrap.safety import accepted_keys, check_login_provider, check_workers, registered_public_keys
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from backend.core.config_types import is_loopback
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


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("auth", ["auto", "keys"])
def test_a_public_bind_always_asks_who_calls(host: str, auth: str) -> None:
    assert known(settings(auth, host, KEY)) == [KEY]
    assert accepted_keys(settings(auth, host)) == {}


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


def test_asking_for_keys_without_having_one_lets_only_accounts_in() -> None:
    assert accepted_keys(settings("keys", "127.0.0.1")) == {}


@pytest.mark.parametrize("keys", ["", KEY])
def test_admin_keys_that_would_protect_nothing_are_refused(keys: str) -> None:
    """Where nobody is asked for a key, everybody may do what the holder of an admin key may."""
    with pytest.raises(ConfigurationError, match="GATEWAY_ADMIN_KEYS would keep nobody from managing models"):
        accepted_keys(settings("open", "127.0.0.1", keys, admins=ADMIN))


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


POSTGRES = "postgresql://gateway:pw-of-the-store@127.0.0.1:1/gateway"


def test_several_workers_need_a_database_server() -> None:
    check_workers(load_settings(None, server={"workers": 1}))
    check_workers(load_settings(None, server={"workers": 2}, DATABASE_URL=POSTGRES))
    for embedded in (None, "sqlite:///some.db"):
        with pytest.raises(ConfigurationError, match="set DATABASE_URL to a PostgreSQL"):
            check_workers(load_settings(None, server={"workers": 2}, DATABASE_URL=embedded))


@pytest.mark.parametrize("weak", ["short", "x" * 64, "changeme" * 8, KEY[:31], "my-secret-0f9c2b7a5d3e8146a0b1c2d3"])
def test_a_weak_signing_key_is_refused_and_not_repeated(weak: str) -> None:
    with pytest.raises(ConfigurationError, match="JWT_SECRET_KEY is too weak") as caught:
        signing_key(load_settings(None, JWT_SECRET_KEY=weak))
    assert weak not in str(caught.value)


def test_gateways_that_share_a_database_must_share_a_signing_key() -> None:
    with pytest.raises(ConfigurationError, match="JWT_SECRET_KEY must be set"):
        signing_key(load_settings(None, DATABASE_URL=POSTGRES))
    assert signing_key(load_settings(None, DATABASE_URL=POSTGRES, JWT_SECRET_KEY=KEY)) == KEY.encode()


def test_alone_the_gateway_makes_its_signing_key_once_and_for_itself(tmp_path: Path) -> None:
    alone = load_settings(None, data_dir=tmp_path)
    key = signing_key(alone)
    assert len(key) == 64
    assert signing_key(alone) == key
    file = tmp_path / "jwt.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["jwt.key"]
    file.write_text("cut")
    with pytest.raises(ConfigurationError, match="does not hold a key"):
        signing_key(alone)


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_a_file_system_without_hard_links_keeps_the_signing_key_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def no_links(_path: Path, _target: Path) -> None:
        raise OSError(reason, "no")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    alone = load_settings(None, data_dir=tmp_path)
    key = signing_key(alone)
    assert signing_key(alone) == key
    assert stat.S_IMODE((tmp_path / "jwt.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["jwt.key"]


def test_a_full_disk_leaves_no_half_of_a_signing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, *_arguments: object, **_options: object) -> None:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(ConfigurationError, match="cannot be made: no space left on device"):
        signing_key(load_settings(None, data_dir=tmp_path))
    assert not list(tmp_path.iterdir())


async def opened(settings: Settings) -> None:
    async with open_database(settings):
        pass


def test_the_data_folder_is_for_the_gateway_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    asyncio.run(opened(load_settings(None, data_dir=folder)))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "passerelle.db").exists()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://u:pw-of-the-store@h/d", "must begin with postgresql:// or sqlite:///"),
        ("pw-of-the-store", "is not an address"),
        ("postgresql+asyncpg://u:pw-of-the-store@127.0.0.1:port/d", "is not an address"),
        ("postgresql://u:pw-of-the-store@/d?host=/nowhere", "cannot be used"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line_without_its_password(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        asyncio.run(opened(load_settings(None, data_dir=tmp_path, DATABASE_URL=url)))
    assert "pw-of-the-store" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "passerelle.db").write_bytes(b"not a database, but long enough to look at" * 40)
    with pytest.raises(ConfigurationError, match="cannot be opened as a database"):
        asyncio.run(opened(load_settings(None, data_dir=tmp_path)))


def test_secrets_do_not_show_in_the_settings() -> None:
    shown = repr(load_settings(None, DATABASE_URL=POSTGRES, JWT_SECRET_KEY=KEY))
    assert "pw-of-the-store" not in shown
    assert KEY not in shown


PROVIDER = {"issuer": "https://login.example.org/", "client_id": "passerelle", "client_secret": "s"}
PUBLIC_URL = {"public_url": "https://gateway.example"}


def test_a_login_provider_is_configured_whole_or_not_at_all() -> None:
    check_login_provider(load_settings(None))
    check_login_provider(load_settings(None, oidc=PROVIDER, server=PUBLIC_URL))


@pytest.mark.parametrize(("missing", "said"), [
    ("issuer", "ISSUER is missing"), ("client_id", "CLIENT_ID"), ("client_secret", "CLIENT_SECRET"),
])  # fmt: skip
def test_half_a_login_provider_is_refused(missing: str, said: str) -> None:
    given: Any = {name: value for name, value in PROVIDER.items() if name != missing}
    with pytest.raises(ConfigurationError, match=said):
        check_login_provider(load_settings(None, oidc=given, server=PUBLIC_URL))


def test_a_login_provider_needs_our_public_address_and_to_be_asked_who_it_is() -> None:
    with pytest.raises(ConfigurationError, match="PUBLIC_URL"):
        check_login_provider(load_settings(None, oidc=PROVIDER))
    with pytest.raises(ConfigurationError, match="openid"):
        check_login_provider(load_settings(None, oidc={**PROVIDER, "scopes": "email"}, server=PUBLIC_URL))
    with pytest.raises(ConfigurationError, match="CLIENT_ID"):
        check_login_provider(load_settings(None, oidc={**PROVIDER, "client_id": "a\nb"}, server=PUBLIC_URL))


@pytest.mark.parametrize("issuer", [
    "http://login.example.org", "https://user@login.example.org", "https://login.example.org?x=1", "login.example.org",
    "https://" + "x" * 150, "http://127.0.0.1.evil.test",
])  # fmt: skip
def test_an_issuer_is_an_address_nobody_on_the_way_can_answer_for(issuer: str) -> None:
    with pytest.raises(ConfigurationError, match="GATEWAY_OIDC__ISSUER"):
        load_settings(None, oidc={**PROVIDER, "issuer": issuer})


def test_an_issuer_is_kept_to_the_letter_and_domains_in_lower_case() -> None:
    kept = load_settings(None, oidc={**PROVIDER, "issuer": "https://a.test/v1/", "allowed_domains": "A.test, b.test"})
    assert kept.oidc.issuer == "https://a.test/v1/"
    assert kept.oidc.allowed_domains == ("a.test", "b.test")
    with pytest.raises(ConfigurationError, match="ALLOWED_DOMAINS"):
        load_settings(None, oidc={**PROVIDER, "allowed_domains": "@a.test"})
