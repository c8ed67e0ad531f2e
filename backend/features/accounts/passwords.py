"""Hashes passwords with argon2id, a few at once and never on the event loop.

One hash takes 64 MiB and a sixth of a second: without a bound, a crowd at the login would be the gateway's end.
"""

import asyncio
from dataclasses import dataclass

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from backend.core.errors import InvalidRequest

MIN_LENGTH, MAX_LENGTH = 12, 128
_AT_ONCE = 4
_MIN_DIFFERENT = 5

NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$wixgSb50n//0554RhwGKXw$lCnEl3j54mkxeCwZSG6PqVET/OP7OTYz5UprRwOpBXQ"
"""The hash of a random value that was thrown away; checked where there is no account, so that it takes as long."""

_STEMS = (
    "password", "passw0rd", "p@ssw0rd", "p@ssword", "motdepasse", "passwort", "contrasena", "qwerty", "qwertz",
    "azerty", "letmein", "welcome", "iloveyou", "changeme", "trustno1", "sunshine", "princess", "football", "baseball",
    "superman", "administrator", "admin", "monkey", "dragon", "abc123", "1q2w3e4r", "1qaz2wsx", "asdfgh", "zxcvbn",
    "qazwsx", "0123456789", "123456789", "987654321", "passerelle", "correcthorsebatterystaple",
)  # fmt: skip
"""What the commonest passwords of twelve characters and more are made of."""
_FILLING = "0123456789!@#$%^&*()-_=+.,;:?/ "


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right, and the hash to keep instead where the parameters have risen."""

    is_right: bool
    new_hash: str | None = None


def argon2id() -> PasswordHash:
    """Return the hasher of the gateway: argon2id with the library's parameters (64 MiB, 3 passes, 4 lanes)."""
    return PasswordHash((Argon2Hasher(),))


def check_password(password: str, *others: str) -> None:
    """Raise `InvalidRequest` for a password that anybody would try.

    Args:
        password: the password, its length already checked.
        others: the account's email and name, which are no secret.
    """
    lowered = password.lower()
    rest = lowered
    for stem in sorted(_STEMS, key=len, reverse=True):
        rest = rest.replace(stem, "")
    if len(set(lowered)) < _MIN_DIFFERENT or not rest.strip(_FILLING):
        raise InvalidRequest("this password is among the first that are tried; choose another one")
    if lowered in {other.lower() for other in others}:
        raise InvalidRequest("the password is the name or the email of the account; choose another one")


class Passwords:
    """Makes and checks the hashes."""

    def __init__(self, hasher: PasswordHash) -> None:
        self._hasher = hasher
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def hash(self, password: str) -> str:
        """Return the hash to keep."""
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password: str, kept: str | None) -> Verdict:
        """Check a password; with no hash kept it is wrong, and finding that out takes as long."""
        async with self._turns:
            return await asyncio.to_thread(self._verify, password, kept)

    def _verify(self, password: str, kept: str | None) -> Verdict:
        try:
            is_right, new_hash = self._hasher.verify_and_update(password, kept or NOBODY)
        except UnknownHashError:
            return Verdict(is_right=False)
        return Verdict(is_right and kept is not None, new_hash if kept is not None else None)
