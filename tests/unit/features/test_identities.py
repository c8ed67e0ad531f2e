"""Callers who sign their requests, as the `ollama` command does with `OLLAMA_AUTH=1`."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from backend.core.errors import NotAuthenticated, NotRegistered
from backend.features.auth import signatures as module
from backend.features.auth.credentials import SignedRequest, read_credential
from backend.features.auth.identities import REPEAT_SECONDS, Identities, is_public_key
from backend.features.auth.principal import CALLER
from backend.features.auth.stores import SettingsIdentities
from tests.fakes.cli_identity import CliIdentity

NOW = 1_790_000_000
CALLING = CliIdentity(1)
STRANGER = CliIdentity(2)


class Clock:
    def __init__(self) -> None:
        self.seconds = float(NOW)

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identities(clock: Clock) -> Identities:
    return known(clock)


def known(clock: Clock, page: str | None = None) -> Identities:
    store = SettingsIdentities([CALLING.public_key])
    return Identities([store], tolerance_seconds=300, connect_page=page, now=clock)


def signed(
    identity: CliIdentity = CALLING, method: str = "POST", path: str = "/api/show", at: int = NOW
) -> SignedRequest:
    scope: dict[str, Any] = {
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"ts={at}".encode(),
        "headers": [(b"authorization", identity.authorization(method, path, at).encode())],
    }
    credential = read_credential(scope)
    assert isinstance(credential, SignedRequest)
    return credential


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/api/tags", "/api/blobs/sha256:0011"])
async def test_a_registered_key_pair_is_known(identities: Identities, method: str, path: str) -> None:
    principal = await identities.identify(signed(method=method, path=path))
    assert principal.permissions == CALLER
    assert principal.key_id is not None
    assert len(principal.key_id) == 12


@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
async def test_clocks_may_differ_a_little(identities: Identities, seconds: int) -> None:
    await identities.identify(signed(at=NOW + seconds))


@pytest.mark.parametrize("seconds", [-301, 301, -NOW, 10**9])
async def test_a_request_from_another_time_is_refused_with_what_to_do(identities: Identities, seconds: int) -> None:
    with pytest.raises(NotAuthenticated, match="set the clock"):
        await identities.identify(signed(at=NOW + seconds))


@pytest.mark.parametrize(
    "change",
    [
        {"message": b"POST,/api/chat?ts=1790000000"},
        {"message": b"GET,/api/show?ts=1790000000"},
        {"message": b"POST,/api/show?ts=1790000001"},
        {"message": b""},
        {"signature": b"\0" * 64},
        {"signature": b"\xff" * 64},
    ],
    ids=str,
)
async def test_a_signature_fits_one_method_path_and_time(identities: Identities, change: dict[str, Any]) -> None:
    with pytest.raises(NotAuthenticated, match="does not fit"):
        await identities.identify(replace(signed(), **change))


async def test_one_callers_signature_is_not_anothers(identities: Identities) -> None:
    forged = replace(signed(STRANGER), public_key=CALLING.public_key)
    with pytest.raises(NotAuthenticated, match="does not fit"):
        await identities.identify(forged)


async def test_the_second_form_of_a_signature_is_refused(identities: Identities) -> None:
    """Adding the group's order to S gives another signature that careless libraries accept."""
    order = 2**252 + 27742317777372353535851937790883648493
    real = signed()
    twisted = int.from_bytes(real.signature[32:], "little") + order
    with pytest.raises(NotAuthenticated, match="does not fit"):
        await identities.identify(replace(real, signature=real.signature[:32] + twisted.to_bytes(32, "little")))


async def test_a_stranger_is_told_where_to_register_and_never_by_the_host_header(clock: Clock) -> None:
    for page, url in ((None, None), ("https://gw.example/connect", "https://gw.example/connect?key=")):
        with pytest.raises(NotRegistered, match="not registered") as caught:
            await known(clock, page).identify(signed(STRANGER))
        shown = caught.value.signin_url
        assert shown == (None if url is None else url + STRANGER.public_key.replace("+", "-").replace("/", "_"))


async def test_a_request_without_its_time_is_refused(identities: Identities) -> None:
    with pytest.raises(NotAuthenticated, match="ts="):
        await identities.identify(replace(signed(), seconds=None))


async def test_two_requests_of_one_second_may_look_the_same(identities: Identities, clock: Clock) -> None:
    for _ in range(3):
        await identities.identify(signed())
        clock.seconds += REPEAT_SECONDS / 3


async def test_an_overheard_request_is_worth_nothing_after_a_moment(identities: Identities, clock: Clock) -> None:
    await identities.identify(signed())
    for wait in (REPEAT_SECONDS + 1, 100, 150):
        clock.seconds += wait
        with pytest.raises(NotAuthenticated, match="used before"):
            await identities.identify(signed())
    await identities.identify(signed(at=int(clock.seconds)))


async def test_a_request_signed_ahead_of_our_clock_is_remembered_until_it_is_too_old(
    identities: Identities, clock: Clock
) -> None:
    ahead = signed(at=NOW + 300)
    await identities.identify(ahead)
    clock.seconds += 599
    await identities.identify(signed(path="/api/tags", at=int(clock.seconds)))
    with pytest.raises(NotAuthenticated, match="used before"):
        await identities.identify(ahead)


async def test_what_is_too_old_is_forgotten(identities: Identities, clock: Clock) -> None:
    for _ in range(5):
        await identities.identify(signed(at=int(clock.seconds)))
        clock.seconds += 700
    assert len(identities._signatures._first_uses[CALLING.public_key]) == 1


async def test_the_memory_has_an_end_and_nobody_pushes_out_what_is_in_it(
    identities: Identities, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    for second in range(3):
        await identities.identify(signed(at=NOW + second))
    with pytest.raises(NotAuthenticated, match="too many"):
        await identities.identify(signed(at=NOW + 3))
    clock.seconds += REPEAT_SECONDS + 1
    with pytest.raises(NotAuthenticated, match="used before"):
        await identities.identify(signed())


async def test_strangers_and_forgers_fill_no_memory(identities: Identities) -> None:
    for request in (signed(STRANGER), replace(signed(), signature=b"\1" * 64)):
        with pytest.raises(NotAuthenticated):
            await identities.identify(request)
    assert all(not uses for uses in identities._signatures._first_uses.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "%" * 68,
        CALLING.public_key[:-4],
        CALLING.public_key + "AAAA",
        base64.b64encode(b"\0\0\0\x07ssh-rsa" + b"\1" * 40).decode(),
        "é",
    ],
)
def test_what_is_no_ed25519_key_is_not_taken_for_one(text: str) -> None:
    assert is_public_key(CALLING.public_key)
    assert not is_public_key(text)
