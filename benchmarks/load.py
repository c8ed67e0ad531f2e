"""Puts bounded load on a server and reads what it cost: one call, one `Load`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import BUILD, BenchError, Server

LOAD_TIMEOUT_S = 120.0
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Work:
    """What every connection asks for: a path, a mock model, whether the answer is streamed, and one more header."""

    path: str
    model: str
    stream: bool = True
    header: str = ""

    @property
    def tokens(self) -> int:
        """Tokens in one answer, from the mock model's name."""
        return int(self.model.split("-")[1])

    @property
    def body(self) -> str:
        """The request body, which Ollama's and Mistral's chat endpoints both accept."""
        messages = [{"role": "user", "content": "Bonjour, raconte-moi quelque chose."}]
        return json.dumps({"model": self.model, "messages": messages, "stream": self.stream})

    def data_events(self, newlines: int, requests: int) -> int:
        """Events that carried a token: SSE ends each with two newlines, both formats close with one more."""
        if not self.stream:
            return 0
        events = newlines // 2 if self.path.startswith("/v1/") else newlines
        return events - requests


@dataclass(frozen=True)
class Load:
    """One run of the load generator."""

    server: str
    work: Work
    requests: int
    errors: int
    open: int
    newlines: int
    seconds: float
    cpu_s: float
    cpu_source: str
    first_byte_ms: dict[str, float]

    @property
    def cpu_us_per_token(self) -> float:
        """CPU microseconds of the whole process tree per token sent upstream."""
        return self.cpu_s * 1e6 / max(self.requests * self.work.tokens, 1)

    @property
    def cpu_us_per_request(self) -> float:
        """CPU microseconds of the whole process tree per request."""
        return self.cpu_s * 1e6 / max(self.requests, 1)

    @property
    def faults(self) -> str:
        """What makes the figures worthless: errors, or tokens that did not arrive; empty when all is well."""
        if self.errors:
            return f"{self.server}: {self.errors} of {self.requests + self.errors} requests failed"
        expected = self.requests * self.work.tokens if self.work.stream else 0
        received = self.work.data_events(self.newlines, self.requests)
        if received < expected:
            return f"{self.server}: {received} events for {expected} tokens"
        return ""


def load_command(
    server: Server, work: Work, connections: int, requests: int, spread_s: float = 0, keep_s: float = 0
) -> list[str]:
    """The load generator's command line for this work."""
    return [
        str(BUILD / "loadgen"),
        *("-p", str(server.port), "-u", work.path, "-b", work.body),
        *(("-H", work.header) if work.header else ()),
        *("-c", str(connections), "-n", str(requests)),
        *("-s", str(spread_s), "-k", str(keep_s), "-P", str(server.pid)),
    ]


def parse_load(server: Server, work: Work, output: str) -> Load:
    """Reads the load generator's JSON."""
    report: dict[str, Any] = json.loads(output)
    return Load(
        server=server.name,
        work=work,
        requests=report["requests"],
        errors=max(report["errors"], report["error_lines"]),
        open=report["open"],
        newlines=report["events"],
        seconds=report["seconds"],
        cpu_s=report["cpu_s"],
        cpu_source=report["cpu_source"],
        first_byte_ms=report["ttfb_ms"],
    )


def run_load(server: Server, work: Work, connections: int, requests: int, spread_s: float = 0) -> Load:
    """Runs `requests` requests over `connections` connections and waits for the last answer."""
    command = load_command(server, work, connections, requests, spread_s)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LOAD_TIMEOUT_S)
    if done.returncode != 0:
        raise BenchError(f"load on {server.name} failed: {done.stderr.strip()}\n{server.log_tail()}")
    return parse_load(server, work, done.stdout)


def tree_memory_kib(pid: int, field: str = "Rss") -> int:
    """Sum of `field` (Rss or Pss) over a process and its descendants, in KiB."""
    total = 0
    for member in [pid, *_descendants(pid)]:
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(f"{field}:"))
    return total


def _descendants(pid: int) -> list[int]:
    """Process ids below `pid`, at any depth."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for member in found:
        found.extend(child for child, parent in parents.items() if parent == member)
    return found[1:]
