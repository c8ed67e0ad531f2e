"""Whether time tells what replies do not: who has an account, and which ids are somebody else's."""

from __future__ import annotations

import http.client
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from itertools import chain
from math import erfc, sqrt
from statistics import median
from typing import TYPE_CHECKING

from report import Row
from servers import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scenarios import Plan
    from team import Team

ASKER = "asker@example.org"
LOGINS_PER_ROUND = 20
"""Of each kind; every one costs a hash of a sixth of a second."""
LOOKS_PER_ROUND = 100
MIN_P = 0.01
"""Below it, chance alone explains the difference in less than one run of a hundred."""
MAX_RATIO = 1.1

LIMITS = {
    f"GATEWAY_ACCOUNTS__{whose}ATTEMPTS_PER_{span}": "100000"
    for whose in ("", "ACCOUNT_", "ADDRESS_")
    for span in ("MINUTE", "HOUR")
}
"""Settings of a gateway that lets somebody try as often as this takes."""

_AGENTS, _KEYS = "/api/v1/agents", "/api/v1/keys"


def measure_secrecy(team: Team, plan: Plan) -> list[Row]:
    """Times of wrong logins with and without an account, and of ids that are foreign or nobody's."""
    session = _Session(team.server.port)
    session.log_in(team.email, team.password)
    foreign = {path: session.first_id(path) for path in (_AGENTS, _KEYS)}
    password = secrets.token_hex(16)
    session.ask("POST", "/api/v1/admin/users", {"email": ASKER, "password": password}, expected=201)
    session.log_in(ASKER, password)
    try:
        return [_login_row(session, plan), *(_missing_row(session, plan, path, foreign[path]) for path in foreign)]
    finally:
        session.close()


def mann_whitney_p(one: Sequence[float], other: Sequence[float]) -> float:
    """How likely chance alone ranks two samples as differently as they are, or more (two-sided, samples of 20 up)."""
    ranked = sorted(chain(((value, 0) for value in one), ((value, 1) for value in other)))
    rank_sum = sum(rank for rank, (_, sample) in enumerate(ranked, start=1) if sample == 0)
    count, others = len(one), len(other)
    u = rank_sum - count * (count + 1) / 2
    spread = sqrt(count * others * (count + others + 1) / 12)
    distance = max(abs(u - count * others / 2) - 0.5, 0.0)
    return erfc(distance / spread / sqrt(2))


def _login_row(session: _Session, plan: Plan) -> Row:
    def guess(email: str) -> float:
        body = {"email": email, "password": secrets.token_hex(16)}
        return session.timed("POST", "/api/v1/auth/login", body, expected=401)

    known, unknown = _in_turn(
        plan.rounds * LOGINS_PER_ROUND,
        lambda: guess(ASKER),
        lambda: guess(f"{secrets.token_hex(3)}@example.org"),
    )
    p = mann_whitney_p(known, unknown)
    return Row(
        measure="login: known vs unknown user, p",
        baseline=f"unknown {median(unknown) * 1e3:.1f} ms",
        gateway=f"known {median(known) * 1e3:.1f} ms",
        result=f"p = {p:.3f}",
        value=1 - p,
        limit=1 - MIN_P,
        goal=f"p > {MIN_P}",
    )


def _missing_row(session: _Session, plan: Plan, path: str, foreign_id: str) -> Row:
    foreign, missing = _in_turn(
        plan.rounds * LOOKS_PER_ROUND,
        lambda: session.timed("GET", f"{path}/{foreign_id}", expected=404),
        lambda: session.timed("GET", f"{path}/{uuid.uuid4()}", expected=404),
    )
    ratio = median(foreign) / median(missing)
    return Row(
        measure=f"404 of {path}: foreign vs nobody's id",
        baseline=f"nobody's {median(missing) * 1e3:.2f} ms",
        gateway=f"foreign {median(foreign) * 1e3:.2f} ms",
        result=f"{ratio:.3f}x",
        value=max(ratio, 1 / ratio),
        limit=MAX_RATIO,
        goal=f"within {MAX_RATIO - 1:.0%}",
    )


def _in_turn(count: int, one: Callable[[], float], other: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Return what both gave; they take turns in who goes first, so that drift hits both."""
    for warm in (one, other):
        warm()
    first, second = list[float](), list[float]()
    for number in range(count):
        for act, found in ((one, first), (other, second))[:: 1 if number % 2 else -1]:
            found.append(act())
    return first, second


@dataclass
class _Session:
    """One connection to a gateway, logged in as somebody."""

    port: int
    token: str = ""

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def log_in(self, email: str, password: str) -> None:
        """Calls as this user from now on."""
        reply = self.ask("POST", "/api/v1/auth/login", {"email": email, "password": password}, expected=200)
        self.token = json.loads(reply)["access_token"]

    def first_id(self, path: str) -> str:
        """The id of something that is in a list."""
        return str(json.loads(self.ask("GET", path, expected=200))["items"][0]["id"])

    def timed(self, method: str, path: str, body: dict[str, str] | None = None, *, expected: int) -> float:
        """The seconds a request takes."""
        started = time.perf_counter()
        self.ask(method, path, body, expected=expected)
        return time.perf_counter() - started

    def ask(self, method: str, path: str, body: dict[str, str] | None = None, *, expected: int) -> bytes:
        """What the gateway replies; another status than expected stops the run."""
        headers = {"content-type": "application/json"}
        if self.token and path != "/api/v1/auth/login":
            headers["authorization"] = f"Bearer {self.token}"
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = self._connection.getresponse()
        content = reply.read()
        if reply.status != expected:
            raise BenchError(f"{method} {path} answered {reply.status}: {content.decode(errors='replace')}")
        return content

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
