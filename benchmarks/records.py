"""What it costs to keep and count requests: each addition beside the same gateway and key without it."""

from __future__ import annotations

import http.client
import json
import secrets
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from load import Work, run_load
from report import Row
from servers import BenchError, start_gateway
from team import (
    EMAIL,
    INSTANT_MODEL,
    PACED_MODEL,
    PARALLEL_REQUESTS,
    PATH,
    ROUNDS_PER_ROUND,
    SPREAD_S,
    STREAMS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from load import Load
    from scenarios import Figures, Plan
    from servers import Server


@dataclass(frozen=True)
class Addition:
    """Something that a gateway does with each request besides answering it, and what that may cost."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    settings_without: dict[str, str] = field(default_factory=dict)
    key: dict[str, object] = field(default_factory=dict)
    """Fields of the key that asks; without the addition it has none."""
    max_request_ms: float = 0.6
    max_token_share: float = 0.10


ADDITIONS = (
    Addition(
        "history, ledger, quota and rate limit",
        settings_without={"GATEWAY_USAGE__LEDGER": "false", "GATEWAY_HISTORY__ENABLED": "false"},
        key={"tokens_per_day": 2_000_000_000, "requests_per_minute": 10_000},
    ),
)
"""Measured one after the other; each has two gateways of its own."""


@dataclass(frozen=True)
class Side:
    """One gateway of a pair, and the keys that ask it: a new one each round, so that none is used too often."""

    leg: str
    server: Server
    keys: Sequence[str]

    def work(self, model: str, round_number: int, *, stream: bool) -> Work:
        """The work of asking a model."""
        return Work(PATH, model, stream, f"Authorization: Bearer {self.keys[round_number]}")


@dataclass(frozen=True)
class Pair:
    """An addition, and the gateways without it and with it."""

    addition: Addition
    without: Side
    beside: Side


def start_pairs(folder: Path, settings: dict[str, str], keep: Callable[[Server], Server], plan: Plan) -> list[Pair]:
    """Starts two gateways for each addition; `keep` has them stopped at the end."""

    def start(name: str, leg: str, more: dict[str, str], fields: dict[str, object]) -> Side:
        own = {**settings, "GATEWAY_API_KEYS": secrets.token_hex(16), **more}
        server = keep(start_gateway(folder, name, own))
        server.run_command("admin", "create", "--email", EMAIL, "--password", secrets.token_hex(16))
        first = server.run_command("keys", "create", "--user", EMAIL, "--name", "bench").splitlines()[-1]
        keys = [_make_key(server, first, fields) for _ in range(plan.rounds * ROUNDS_PER_ROUND + 1)]
        return Side(leg, server, keys)

    return [
        Pair(
            addition,
            start(f"without-{number}", f"without {addition.name}", addition.settings_without, {}),
            start(f"with-{number}", f"with {addition.name}", addition.settings, addition.key),
        )
        for number, addition in enumerate(ADDITIONS)
    ]


def measure_pairs(pairs: Sequence[Pair], plan: Plan, figures: Figures) -> list[Row]:
    """CPU per request and per streamed token, with and without each addition."""
    return [row for pair in pairs for row in _measure(pair, plan, figures)]


def _measure(pair: Pair, plan: Plan, figures: Figures) -> list[Row]:
    sides = (pair.without, pair.beside)
    for side in sides:
        run_load(side.server, side.work(PACED_MODEL, 0, stream=True), PARALLEL_REQUESTS, PARALLEL_REQUESTS)
        run_load(side.server, side.work(INSTANT_MODEL, 0, stream=False), PARALLEL_REQUESTS, 200)
    for number in range(1, plan.rounds * ROUNDS_PER_ROUND + 1):
        for side in sides:
            streamed = side.work(PACED_MODEL, number, stream=True)
            whole = side.work(INSTANT_MODEL, number, stream=False)
            figures.add(
                f"{side.leg}, streamed", run_load(side.server, streamed, STREAMS, plan.stream_requests, SPREAD_S)
            )
            figures.add(f"{side.leg}, whole", run_load(side.server, whole, PARALLEL_REQUESTS, plan.whole_requests))
    return [_request_row(pair, figures), _token_row(pair, figures)]


def _request_row(pair: Pair, figures: Figures) -> Row:
    """What a request that is not streamed costs more."""
    legs = [f"{side.leg}, whole" for side in (pair.without, pair.beside)]
    without, beside = (_cost(figures, leg) for leg in legs)
    added_ms = (beside - without) / 1e3
    return Row(
        measure=f"CPU per request with {pair.addition.name}",
        baseline=f"without {without:.0f} µs",
        gateway=f"{beside:.0f} µs",
        result=f"{added_ms:+.3f} ms",
        value=added_ms,
        limit=pair.addition.max_request_ms,
        goal=f"<= {pair.addition.max_request_ms:+g} ms",
        fault=figures.faults(*legs),
    )


def _token_row(pair: Pair, figures: Figures) -> Row:
    """What a streamed token costs more, its share of the request included."""
    legs = [f"{side.leg}, streamed" for side in (pair.without, pair.beside)]
    tokens = Work(PATH, PACED_MODEL).tokens
    without, beside = (_cost(figures, leg) / tokens for leg in legs)
    share = (beside - without) / without
    return Row(
        measure=f"CPU per streamed token with {pair.addition.name}",
        baseline=f"without {without:.2f} µs",
        gateway=f"{beside:.2f} µs",
        result=f"{share:+.1%}",
        value=share,
        limit=pair.addition.max_token_share,
        goal=f"<= {pair.addition.max_token_share:+.0%}",
        fault=figures.faults(*legs),
    )


def _cost(figures: Figures, leg: str) -> float:
    """CPU microseconds per request, the median of the rounds."""

    def read(load: Load) -> float:
        return load.cpu_us_per_request

    return median(figures.values(leg, read))


def _make_key(server: Server, key: str, fields: dict[str, object]) -> str:
    """Returns a new key with some fields, made with another; what is not made stops the run."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        connection.request("POST", "/api/v1/keys", json.dumps({"name": "bench", **fields}), headers)
        reply = connection.getresponse()
        told = reply.read().decode(errors="replace")
        if reply.status != http.HTTPStatus.CREATED:
            raise BenchError(f"a key was not made: {reply.status}: {told}")
        return str(json.loads(told)["key"])
    finally:
        connection.close()
