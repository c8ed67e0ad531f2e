"""What a key of the database and an agent cost, beside the same work without either."""

from __future__ import annotations

import http.client
import json
import secrets
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from load import Work, run_load
from report import Row
from secrecy import LIMITS
from servers import BenchError, start_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from load import Load
    from scenarios import Figures, Plan
    from servers import Server

EMAIL = "bench@example.org"
PATH = "/api/chat"
PACED_MODEL = "mock-100-20-50"
INSTANT_MODEL = "mock-64-0-0"
STREAMS = 100
PARALLEL_REQUESTS = 8
SPREAD_S = 1.0
ROUNDS_PER_ROUND = 2
"""Differences need more rounds than figures do."""

MAX_ADDED_TOKEN_SHARE = 0.03
"""What counts as nothing: less than rounds differ among themselves."""
MAX_ADDED_REQUEST_MS = 0.4

PROMPT = "You are a patient teacher of French. Answer in two sentences, and correct the mistakes of whoever asks."


@dataclass(frozen=True)
class Team:
    """An open gateway, one that asks for a key, and a key of its database."""

    plain: Server
    server: Server
    key: str
    email: str
    password: str

    def work(self, model: str, *, stream: bool) -> Work:
        """The work of asking the agent of that name with the key."""
        return Work(PATH, f"me/{model}", stream, f"Authorization: Bearer {self.key}")


def start_team(folder: Path, settings: dict[str, str], keep: Callable[[Server], Server]) -> Team:
    """Starts two gateways, for which nothing else is asked, and makes an account, a key and agents in one.

    `keep` has them stopped at the end.
    """
    # What keeping requests costs is measured apart: see records.py.
    settings = {**settings, "GATEWAY_HISTORY__ENABLED": "false", "GATEWAY_USAGE__LEDGER": "false"}
    plain = keep(start_gateway(folder, "plain", settings))
    server = keep(start_gateway(folder, "team", {**settings, **LIMITS, "GATEWAY_API_KEYS": secrets.token_hex(16)}))
    password = secrets.token_hex(16)
    server.run_command("admin", "create", "--email", EMAIL, "--password", password)
    key = server.run_command("keys", "create", "--user", EMAIL, "--name", "bench").splitlines()[-1]
    for model in (PACED_MODEL, INSTANT_MODEL):
        agent = {"name": model, "model": model, "system_prompt": PROMPT, "temperature": 0.3}
        _post(server, "/api/v1/agents", agent, key)
    return Team(plain, server, key, EMAIL, password)


def measure_team(team: Team, plan: Plan, figures: Figures) -> list[Row]:
    """CPU per streamed token and per request, with a key and an agent and without."""
    pairs: list[tuple[str, Server, Work, Work]] = [
        ("plain", team.plain, Work(PATH, PACED_MODEL), Work(PATH, INSTANT_MODEL, stream=False)),
        (
            "key and agent",
            team.server,
            team.work(PACED_MODEL, stream=True),
            team.work(INSTANT_MODEL, stream=False),
        ),
    ]
    for _, server, streamed, whole in pairs:
        run_load(server, streamed, PARALLEL_REQUESTS, PARALLEL_REQUESTS)
        run_load(server, whole, PARALLEL_REQUESTS, 200)
    for _ in range(plan.rounds * ROUNDS_PER_ROUND):
        for leg, server, streamed, whole in pairs:
            figures.add(f"{leg}, streamed", run_load(server, streamed, STREAMS, plan.stream_requests, SPREAD_S))
            figures.add(f"{leg}, whole", run_load(server, whole, PARALLEL_REQUESTS, plan.whole_requests))
    return [_request_row(figures), _token_row(figures)]


def _request_row(figures: Figures) -> Row:
    """What a request that is not streamed costs more."""
    plain, agent = (_cost(figures, f"{leg}, whole") for leg in ("plain", "key and agent"))
    added_ms = (agent - plain) / 1e3
    return Row(
        measure="CPU per request with a database key and an agent",
        baseline=f"without {plain:.0f} µs",
        gateway=f"{agent:.0f} µs",
        result=f"{added_ms:+.3f} ms",
        value=added_ms,
        limit=MAX_ADDED_REQUEST_MS,
        goal=f"<= {MAX_ADDED_REQUEST_MS:+g} ms",
        fault=figures.faults("plain, whole", "key and agent, whole"),
    )


def _token_row(figures: Figures) -> Row:
    """What a streamed token costs more, once what its request costs more is taken off."""
    tokens = Work(PATH, PACED_MODEL).tokens
    plain, agent = (_cost(figures, f"{leg}, streamed") for leg in ("plain", "key and agent"))
    of_requests = _cost(figures, "key and agent, whole") - _cost(figures, "plain, whole")
    added = (agent - plain - of_requests) / tokens
    return Row(
        measure="CPU per streamed token with a database key and an agent",
        baseline=f"without {plain / tokens:.2f} µs",
        gateway=f"{agent / tokens:.2f} µs",
        result=f"{added:+.2f} µs beyond the request's share",
        value=added * tokens / plain,
        limit=MAX_ADDED_TOKEN_SHARE,
        goal=f"<= {MAX_ADDED_TOKEN_SHARE:+.0%}",
        fault=figures.faults("plain, streamed", "key and agent, streamed"),
    )


def _cost(figures: Figures, leg: str) -> float:
    """CPU microseconds per request, the median of the rounds."""

    def read(load: Load) -> float:
        return load.cpu_us_per_request

    return median(figures.values(leg, read))


def _post(server: Server, path: str, body: dict[str, object], key: str) -> None:
    """Sends JSON with a key; what is not made stops the run."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        if reply.status != http.HTTPStatus.CREATED:
            raise BenchError(f"{path} answered {reply.status}: {reply.read().decode(errors='replace')}")
    finally:
        connection.close()
