"""What is measured: each function runs one scenario on the running servers and returns table rows."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from load import KIB_PER_MIB, Load, Work, load_command, parse_load, run_load, tree_memory_kib
from report import Row
from servers import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from records import Pair
    from servers import Server
    from team import Team

SSE_PATH = "/v1/chat/completions"
OLLAMA_PATH = "/api/chat"
PACED_MODEL = "mock-100-20-50"
SHORT_MODEL = "mock-10-20-50"
INSTANT_MODEL = "mock-64-0-0"
HELD_MODEL = "mock-2-60000-1"

STREAMS = 100
LIGHT_STREAMS = 20
PARALLEL_REQUESTS = 8
SPREAD_S = 1.0
OPEN_SLACK_S = 2.0
CLOSE_TIMEOUT_S = 8.0

MAX_RATIO_MISTRAL = 6.0
AIMED_RATIO_MISTRAL = 4.0
MAX_RATIO_OLLAMA = 4.0
MAX_RATIO_OPENAI_ROUTE = 1.2
MAX_REQUEST_MS = 1.2
MAX_ADDED_FIRST_TOKEN_MS = 2.0
MAX_IDLE_MIB = 120.0
MAX_STREAM_KIB = 60.0


@dataclass(frozen=True)
class Plan:
    """How much work a run does."""

    rounds: int = 3
    stream_requests: int = 300
    light_requests: int = 400
    whole_requests: int = 2000
    open_streams: int = 500
    hold_s: float = 2.0


QUICK = Plan(rounds=1, stream_requests=200, light_requests=200, whole_requests=1000, hold_s=1.0)


@dataclass(frozen=True)
class Cast:
    """The servers of a run; the gateways are absent when only the baseline is measured."""

    mock: Server
    nginx: Server
    mistral: Server | None
    ollama: Server | None
    team: Team | None = None
    pairs: Sequence[Pair] = ()

    @property
    def gateways(self) -> list[tuple[str, Server]]:
        """The gateways with the name of their route."""
        routes = [("Mistral", self.mistral), ("Ollama passthrough", self.ollama)]
        return [(route, server) for route, server in routes if server is not None]


@dataclass
class Figures:
    """All loads of a run by leg, in the order of the rounds."""

    legs: dict[str, list[Load]] = field(default_factory=dict)

    def add(self, leg: str, load: Load) -> None:
        """Keeps one load and says so."""
        self.legs.setdefault(leg, []).append(load)
        cost = load.cpu_us_per_token if load.work.stream else load.cpu_us_per_request
        unit = "token" if load.work.stream else "request"
        first = load.first_byte_ms["p50"]
        progress(f"{leg}: {load.requests} requests, {cost:.2f} µs/{unit}, first byte {first:.2f} ms")

    def values(self, leg: str, read: Callable[[Load], float]) -> list[float]:
        """One figure of each round."""
        return [read(load) for load in self.legs.get(leg, [])]

    def faults(self, *legs: str) -> str:
        """The first fault of these legs, empty when there is none."""
        return next((load.faults for leg in legs for load in self.legs.get(leg, []) if load.faults), "")


def progress(line: str) -> None:
    """Tells the person waiting what happens."""
    print(line, file=sys.stderr, flush=True)


def warm_up(cast: Cast) -> None:
    """Lets every server open its connections and compile its paths before anything counts."""
    targets = [(cast.nginx, SSE_PATH), (cast.nginx, OLLAMA_PATH)]
    targets += [(server, path) for _, server in cast.gateways for path in (OLLAMA_PATH, SSE_PATH)]
    for server, path in targets:
        for stream in (True, False):
            run_load(server, Work(path, INSTANT_MODEL, stream), PARALLEL_REQUESTS, 200)


def measure_streams(cast: Cast, plan: Plan, figures: Figures) -> list[Row]:
    """CPU per streamed token and added time to first token with 100 paced streams."""
    sse, ndjson = Work(SSE_PATH, PACED_MODEL), Work(OLLAMA_PATH, PACED_MODEL)
    legs: list[tuple[str, Server | None, Work]] = [
        ("nginx SSE", cast.nginx, sse),
        ("gateway Mistral", cast.mistral, ndjson),
        ("gateway Mistral, OpenAI route", cast.mistral, sse),
        ("nginx NDJSON", cast.nginx, ndjson),
        ("gateway Ollama", cast.ollama, ndjson),
        ("direct", cast.mock, sse),
    ]
    for number in range(plan.rounds):
        for leg, server, work in legs:
            if server is not None:
                load = run_load(server, work, STREAMS, plan.stream_requests, SPREAD_S)
                figures.add(f"{leg}, {STREAMS} streams", load)
        progress(f"streams: round {number + 1} of {plan.rounds} done")
    at = f", {STREAMS} streams"
    return [
        _token_row(
            figures,
            "CPU per streamed token, Mistral -> NDJSON",
            ("nginx SSE" + at, "gateway Mistral" + at),
            MAX_RATIO_MISTRAL,
            f" (aim {AIMED_RATIO_MISTRAL:g}x)",
        ),
        _token_row(
            figures,
            "CPU per streamed token, Ollama passthrough",
            ("nginx NDJSON" + at, "gateway Ollama" + at),
            MAX_RATIO_OLLAMA,
        ),
        _token_row(
            figures,
            "CPU per streamed token, Mistral: OpenAI's route / Ollama's",
            ("gateway Mistral" + at, "gateway Mistral, OpenAI route" + at),
            MAX_RATIO_OPENAI_ROUTE,
            baseline="Ollama's route",
        ),
        *_first_token_rows(figures, at),
    ]


def measure_first_token(cast: Cast, plan: Plan, figures: Figures) -> list[Row]:
    """Added time to first token at a light load."""
    at = f", {LIGHT_STREAMS} streams"
    sse, ndjson = Work(SSE_PATH, SHORT_MODEL), Work(OLLAMA_PATH, SHORT_MODEL)
    legs: list[tuple[str, Server | None, Work]] = [
        ("direct", cast.mock, sse),
        ("gateway Mistral", cast.mistral, ndjson),
        ("nginx SSE", cast.nginx, sse),
        ("gateway Ollama", cast.ollama, ndjson),
    ]
    for _ in range(plan.rounds):
        for leg, server, work in legs:
            if server is not None:
                load = run_load(server, work, LIGHT_STREAMS, plan.light_requests, SPREAD_S / 4)
                figures.add(leg + at, load)
    return _first_token_rows(figures, at)


def measure_whole_answers(cast: Cast, plan: Plan, figures: Figures) -> list[Row]:
    """CPU per request that is not streamed."""
    at = ", not streamed"
    whole = Work(OLLAMA_PATH, INSTANT_MODEL, stream=False)
    for _ in range(plan.rounds):
        for leg, server in (
            ("nginx", cast.nginx),
            ("gateway Mistral", cast.mistral),
            ("gateway Ollama", cast.ollama),
        ):
            if server is not None:
                figures.add(leg + at, run_load(server, whole, PARALLEL_REQUESTS, plan.whole_requests))
    return [
        _request_row(figures, "CPU per non-streamed request, Mistral", ("nginx" + at, "gateway Mistral" + at)),
        _request_row(
            figures, "CPU per non-streamed request, Ollama passthrough", ("nginx" + at, "gateway Ollama" + at)
        ),
    ]


def measure_idle_memory(cast: Cast) -> list[Row]:
    """Memory of each gateway right after its start."""
    rows = []
    nginx_mib = tree_memory_kib(cast.nginx.pid) / KIB_PER_MIB
    for route, server in cast.gateways:
        resident = tree_memory_kib(server.pid) / KIB_PER_MIB
        proportional = tree_memory_kib(server.pid, "Pss") / KIB_PER_MIB
        rows.append(
            Row(
                measure=f"Idle memory, {route}",
                baseline=f"nginx {nginx_mib:.0f} MiB",
                gateway=f"{resident:.0f} MiB (PSS {proportional:.0f})",
                result=f"{resident:.0f} MiB",
                value=resident,
                limit=MAX_IDLE_MIB,
                goal=f"<= {MAX_IDLE_MIB:.0f} MiB",
            )
        )
    return rows


def measure_open_streams(cast: Cast, plan: Plan) -> list[Row]:
    """Memory each open stream adds, and whether closing the clients closes the upstream too."""
    nginx_kib, _ = _held_kib(cast, cast.nginx, Work(SSE_PATH, HELD_MODEL), plan)
    rows = []
    if not cast.gateways:
        rows.append(Row("Memory per open stream", f"nginx {nginx_kib:.1f} KiB"))
    for route, server in cast.gateways:
        grown_kib, fault = _held_kib(cast, server, Work(OLLAMA_PATH, HELD_MODEL), plan)
        rows.append(
            Row(
                measure=f"Memory per open stream, {route}",
                baseline=f"nginx {nginx_kib:.1f} KiB",
                gateway=f"{grown_kib:.1f} KiB",
                result=f"{grown_kib:.1f} KiB",
                value=grown_kib,
                limit=MAX_STREAM_KIB,
                goal=f"<= {MAX_STREAM_KIB:.0f} KiB",
                fault=fault,
            )
        )
    return rows


def _held_kib(cast: Cast, server: Server, work: Work, plan: Plan) -> tuple[float, str]:
    """RSS growth per stream while all are open after their first token, and what went wrong."""
    run_load(server, Work(work.path, INSTANT_MODEL), PARALLEL_REQUESTS, 50)
    before = tree_memory_kib(server.pid)
    keep_s = SPREAD_S + OPEN_SLACK_S + plan.hold_s
    command = load_command(server, work, plan.open_streams, plan.open_streams, SPREAD_S, keep_s)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            _wait_for_active(cast.mock, plan.open_streams, SPREAD_S + OPEN_SLACK_S)
            time.sleep(plan.hold_s / 2)
            each = (tree_memory_kib(server.pid) - before) / plan.open_streams
            output, _ = holder.communicate(timeout=keep_s + OPEN_SLACK_S)
        except BaseException:
            holder.kill()
            raise
    if holder.returncode != 0:
        raise BenchError(f"{server.name} refused {plan.open_streams} streams:\n{server.log_tail()}")
    opened = parse_load(server, work, output).open
    left = _wait_for_active(cast.mock, 0, CLOSE_TIMEOUT_S)
    progress(f"{server.name}: {opened} open streams, {each:.1f} KiB each, {left} left behind")
    if opened < plan.open_streams:
        return each, f"{server.name}: only {opened} of {plan.open_streams} streams opened"
    if left:
        return each, f"{server.name}: {left} upstream streams left after the clients closed"
    return each, ""


def _wait_for_active(mock: Server, count: int, timeout_s: float) -> int:
    """Waits until the mock has `count` answers under way; returns how many it has in the end."""
    deadline = time.monotonic() + timeout_s
    active = -1
    while active != count and time.monotonic() < deadline:
        time.sleep(0.1)
        active = int(str(mock.get_json("/stats")["active"]))
    return active


def _token_row(
    figures: Figures, measure: str, legs: tuple[str, str], limit: float, note: str = "", baseline: str = "nginx"
) -> Row:
    """CPU per token of the second leg against the first, as a ratio of the rounds' medians and as a difference."""
    theirs = figures.values(legs[0], lambda load: load.cpu_us_per_token)
    ours = figures.values(legs[1], lambda load: load.cpu_us_per_token)
    goal = f"<= {limit:g}x{note}"
    if not ours:
        told = f"{baseline} {median(theirs):.2f} µs" if theirs else "-"
        return Row(measure, told, goal=goal, fault=figures.faults(legs[0]))
    ratio = median(ours) / median(theirs)
    each = [mine / base for base, mine in zip(theirs, ours, strict=True)]
    return Row(
        measure=measure,
        baseline=f"{baseline} {median(theirs):.2f} µs",
        gateway=f"{median(ours):.2f} µs",
        result=f"{ratio:.2f}x ({min(each):.2f}-{max(each):.2f}), {median(ours) - median(theirs):+.1f} µs",
        value=ratio,
        limit=limit,
        goal=goal,
        fault=figures.faults(*legs),
    )


def _request_row(figures: Figures, measure: str, legs: tuple[str, str]) -> Row:
    """CPU per request of the gateway, with nginx beside it."""
    nginx = median(figures.values(legs[0], lambda load: load.cpu_us_per_request))
    gateway = figures.values(legs[1], lambda load: load.cpu_us_per_request)
    baseline = f"nginx {nginx:.1f} µs"
    goal = f"<= {MAX_REQUEST_MS:g} ms"
    if not gateway:
        return Row(measure, baseline, goal=goal, fault=figures.faults(legs[0]))
    return Row(
        measure=measure,
        baseline=baseline,
        gateway=f"{median(gateway):.0f} µs",
        result=f"{median(gateway) / 1e3:.2f} ms",
        value=median(gateway) / 1e3,
        limit=MAX_REQUEST_MS,
        goal=goal,
        fault=figures.faults(*legs),
    )


def _first_token_rows(figures: Figures, at: str) -> list[Row]:
    """Milliseconds the gateway adds to the first token over asking the mock directly."""
    rows = []
    for route, leg in (("Mistral", "gateway Mistral"), ("Ollama passthrough", "gateway Ollama")):
        for share in ("p50", "p99"):
            direct = _first_byte_ms(figures, "direct" + at, share)
            nginx = _first_byte_ms(figures, "nginx SSE" + at, share)
            limit = MAX_ADDED_FIRST_TOKEN_MS if share == "p50" else None
            row = Row(
                measure=f"Added time to first token {share}, {route}{at}",
                baseline=f"direct {direct:.2f} ms (nginx {nginx - direct:+.2f})",
                goal=f"<= {limit:g} ms" if limit else "",
                fault=figures.faults("direct" + at, "nginx SSE" + at, leg + at),
            )
            if leg + at in figures.legs:
                gateway = _first_byte_ms(figures, leg + at, share)
                added = gateway - direct
                row = replace(row, gateway=f"{gateway:.2f} ms", result=f"{added:+.2f} ms", value=added, limit=limit)
            rows.append(row)
    return rows


def _first_byte_ms(figures: Figures, leg: str, share: str) -> float:
    """The median over the rounds of one percentile of the time to the first byte."""
    return median(figures.values(leg, lambda load: load.first_byte_ms[share]))
