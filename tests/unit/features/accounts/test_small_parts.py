"""Trigrammes, passwords, known sessions, opaque tokens, addresses."""

import asyncio
import itertools
import threading
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pwdlib import PasswordHash
from pydantic import TypeAdapter, ValidationError

from backend.core.errors import InvalidRequest, RateLimited
from backend.features.accounts.attempts import Attempt, Attempts
from backend.features.accounts.deps import _network
from backend.features.accounts.known_sessions import KnownSession, KnownSessions
from backend.features.accounts.one_time import new_token, next_token, token_hash
from backend.features.accounts.passwords import NOBODY, Passwords, argon2id, check_password
from backend.features.accounts.trigramme import Trigramme, proposals
from backend.features.auth.principal import Principal

TRIGRAMME = TypeAdapter(Trigramme)


@pytest.mark.parametrize(
    ("name", "email", "first"),
    [
        ("Ada Lovelace", "x@y", "alo"),
        ("Jean-Paul Marie Martin", "x@y", "jpm"),
        ("Élodie Ünal", "x@y", "eun"),
        ("O'Brien", "x@y", "obr"),
        ("", "grace.hopper@navy.mil", "gho"),
        ("王", "li@y", "laa"),
        ("", "1@y", "xaa"),
    ],
)
def test_a_trigramme_looks_like_the_name(name: str, email: str, first: str) -> None:
    assert next(proposals(name, email)) == first


@given(st.text(max_size=60), st.text(max_size=60))
def test_every_proposal_is_a_trigramme_and_every_trigramme_is_proposed(name: str, email: str) -> None:
    for proposal in itertools.islice(proposals(name, email), 50):
        assert TRIGRAMME.validate_python(proposal) == proposal
    assert len(set(proposals("ada", ""))) == 26**3


@pytest.mark.parametrize("value", ["", "ab", "abcd", "Abc", "a1c", "a c", "abc\nabc", "àbc", "../"])
def test_a_trigramme_is_checked_at_the_type(value: str) -> None:
    with pytest.raises(ValidationError):
        TRIGRAMME.validate_python(value)


@pytest.mark.parametrize(
    "password", ["PASSWORD1234!", "qwertyqwerty1", "abababababab", "Passerelle2026", "welcome-12345"]
)
def test_what_anybody_would_try_is_refused(password: str) -> None:
    with pytest.raises(InvalidRequest, match="among the first"):
        check_password(password)


def test_a_password_is_not_the_account_itself() -> None:
    with pytest.raises(InvalidRequest, match="the name or the email"):
        check_password("Grace.Hopper@navy.mil", "grace.hopper@navy.mil")
    check_password("correct horse battery", "grace.hopper@navy.mil")


def test_a_hash_for_nobody_takes_as_long_as_any_other() -> None:
    kept = argon2id().hash("x")
    assert NOBODY.rpartition("$")[0].rpartition("$")[0] == kept.rpartition("$")[0].rpartition("$")[0]


async def test_four_hashes_at_once_and_no_more() -> None:
    running, most, lock = 0, 0, threading.Lock()
    enough = threading.Event()

    class Slow(PasswordHash):
        def hash(self, password: str | bytes, **_more: Any) -> str:  # noqa: ARG002
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                if running == 4:
                    enough.set()
            enough.wait(5)
            with lock:
                running -= 1
            return "hash"

    passwords = Passwords(Slow(argon2id().hashers))
    await asyncio.gather(*[passwords.hash("x") for _ in range(12)])
    assert most == 4


async def test_a_kept_value_that_is_no_hash_is_a_wrong_password() -> None:
    assert not (await Passwords(argon2id()).verify("x", "not a hash")).is_right


SESSION, USER = uuid.uuid4(), uuid.uuid4()
KNOWN = KnownSession(Principal(str(SESSION), user_id=USER), 0)


async def test_what_changes_while_it_is_looked_up_is_not_remembered() -> None:
    asked = 0

    async def load(_session_id: uuid.UUID) -> KnownSession:
        nonlocal asked
        asked += 1
        if asked == 1:
            sessions.forget_user(USER)
        return KNOWN

    sessions = KnownSessions(load)
    for _ in range(3):
        assert await sessions.find(SESSION) is KNOWN
    assert asked == 2


@pytest.mark.parametrize("forget", ["session", "user", "all"])
async def test_what_is_forgotten_is_asked_again(forget: str) -> None:
    answers: list[KnownSession | None] = [KNOWN, None]

    async def load(_session_id: uuid.UUID) -> KnownSession | None:
        return answers.pop(0)

    sessions = KnownSessions(load)
    assert await sessions.find(SESSION) is KNOWN
    assert await sessions.find(SESSION) is KNOWN
    {
        "session": lambda: sessions.forget(SESSION),
        "user": lambda: sessions.forget_user(USER),
        "all": sessions.forget_all,
    }[forget]()
    assert await sessions.find(SESSION) is None


async def test_what_is_remembered_is_bounded() -> None:
    async def load(_session_id: uuid.UUID) -> KnownSession:
        return KNOWN

    sessions = KnownSessions(load)
    for number in range(10_050):
        await sessions.find(uuid.UUID(int=number))
    assert len(sessions._kept) == 10_000


@given(st.text(max_size=200), st.binary(min_size=32, max_size=64))
def test_a_token_s_successor_follows_from_it_and_the_key_alone(token: str, key: bytes) -> None:
    made = next_token("t-", token, key)
    assert made == next_token("t-", token, key)
    assert made != next_token("t-", token, key + b"x")
    assert len(made) == len(new_token("t-"))
    assert token_hash(made) != token_hash(token)


async def test_too_many_attempts_are_told_when_to_come_back() -> None:
    attempts = Attempts({Attempt.REFRESH: "2/minute;3/hour"})
    for _ in range(2):
        await attempts.admit(Attempt.REFRESH, "a")
    with pytest.raises(RateLimited) as caught:
        await attempts.admit(Attempt.REFRESH, "a")
    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 60
    await attempts.admit(Attempt.REFRESH, "b")
    await attempts.forgive(Attempt.REFRESH, "a")
    await attempts.admit(Attempt.REFRESH, "a")
    await attempts.admit(Attempt.LOGIN_TO_ACCOUNT, "a")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("local", "local"),
    ],
)
def test_an_ipv6_customer_is_one_address(address: str, network: str) -> None:
    assert _network(address) == network
