"""Measures the gateway against nginx on the same work in one run: see README.md."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import scenarios
from history import measure_history
from records import measure_pairs, start_pairs
from report import Row, as_text, conditions, write_results
from scenarios import Cast, Figures, Plan, progress
from secrecy import measure_secrecy
from servers import HERE, BenchError, Server, build_tools, find_nginx, start_gateway, start_mock, start_nginx
from team import measure_team, start_team

if TYPE_CHECKING:
    from types import FrameType

RESULTS = HERE / "results"


def main() -> int:
    """Runs the benchmark and prints its table."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, _leave)
    _raise_file_limit()
    plan = scenarios.QUICK if options.quick else Plan()
    started = time.monotonic()
    try:
        find_nginx()
        build_tools()
        rows = measure(plan, with_gateway=not options.baseline)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    progress(f"done in {time.monotonic() - started:.0f} s; written to {RESULTS.relative_to(HERE.parent)}/latest.md")
    missed = [row for row in rows if row.mark in ("over", "FAULT")]
    return 1 if options.check and missed else 0


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute")
    parser.add_argument("--baseline", action="store_true", help="measure nginx alone, without the gateway")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    return parser.parse_args()


def measure(plan: Plan, *, with_gateway: bool) -> list[Row]:
    """Starts everything, runs all scenarios, prints and writes the table, and stops everything."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        cast = start_cast(stack, folder, plan, with_gateway=with_gateway)
        figures = Figures()
        facts = conditions(plan.rounds, "")
        rows = scenarios.measure_idle_memory(cast)
        rows += scenarios.measure_open_streams(cast, plan)
        scenarios.warm_up(cast)
        whole = scenarios.measure_whole_answers(cast, plan, figures)
        light = scenarios.measure_first_token(cast, plan, figures)
        rows = [*scenarios.measure_streams(cast, plan, figures), *light, *whole, *rows]
        if cast.team is not None:
            rows += measure_team(cast.team, plan, figures)
            rows += measure_secrecy(cast.team, plan)
            rows += measure_history(folder)
        rows += measure_pairs(cast.pairs, plan, figures)
        sources = {load.cpu_source for loads in figures.legs.values() for load in loads}
        facts["cpu time from"] = ", ".join(sorted(sources))
    print(as_text(rows, facts))
    loads = {leg: [asdict(load) for load in loads] for leg, loads in figures.legs.items()}
    write_results(RESULTS, rows, facts, loads)
    return rows


def start_cast(stack: ExitStack, folder: Path, plan: Plan, *, with_gateway: bool) -> Cast:
    """Starts the servers; the stack stops them, last first."""

    def keep(server: Server) -> Server:
        """Has the stack stop this server."""
        stack.callback(server.stop)
        return server

    mock = keep(start_mock(folder))
    nginx = keep(start_nginx(folder, mock.port))
    if not with_gateway:
        return Cast(mock, nginx, None, None)
    upstream = f"http://127.0.0.1:{mock.port}"
    mistral_settings = {"MISTRAL_API_KEY": "bench-key", "MISTRAL_BASE_URL": upstream}
    mistral = keep(start_gateway(folder, "mistral", mistral_settings))
    ollama = keep(start_gateway(folder, "ollama", {"OLLAMA_BASE_URLS": upstream}))
    team = start_team(folder, mistral_settings, keep)
    return Cast(mock, nginx, mistral, ollama, team, start_pairs(folder, mistral_settings, keep, plan))


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Turns a termination signal into an ordinary exit, so that the servers are stopped."""
    sys.exit(128 + number)


def _raise_file_limit() -> None:
    """Allows this process and its children as many open files as the system lets them have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
