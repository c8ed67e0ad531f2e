"""The table of a run: aligned text for the terminal, Markdown and JSON for the record."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from servers import find_nginx

HEADINGS = ("measure", "baseline", "gateway", "result", "goal", "")


@dataclass(frozen=True)
class Row:
    """One measured figure; `limit` is the largest good `value`, both in the unit of `goal`."""

    measure: str
    baseline: str
    gateway: str = "-"
    result: str = "-"
    value: float | None = None
    limit: float | None = None
    goal: str = ""
    fault: str = ""

    @property
    def mark(self) -> str:
        """Whether the goal is met: ok, over, FAULT (the figure means nothing) or nothing to compare."""
        if self.fault:
            return "FAULT"
        if self.value is None or self.limit is None:
            return ""
        return "ok" if self.value <= self.limit else "over"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, one cell per heading."""
        return (self.measure, self.baseline, self.gateway, self.result, self.goal, self.mark)


def conditions(rounds: int, cpu_source: str) -> dict[str, str]:
    """What the figures depend on: machine, versions, date and length of the run."""
    version = subprocess.run([find_nginx(), "-v"], check=False, capture_output=True, text=True).stderr
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": version.rpartition("/")[2].strip(),
        "rounds": str(rounds),
        "cpu time from": cpu_source,
        "load average at the start": load,
    }


def as_text(rows: list[Row], facts: dict[str, str]) -> str:
    """The table with aligned columns, the conditions and the faults below it."""
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    table.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*table, "", *_notes(rows, facts)])


def as_markdown(rows: list[Row], facts: dict[str, str]) -> str:
    """The same table as Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells for row in rows)]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    notes = [f"- {note}" for note in _notes(rows, facts)]
    return "\n".join(["# Benchmark", "", *table, "", *notes, ""])


def write_results(
    folder: Path, rows: list[Row], facts: dict[str, str], loads: dict[str, list[dict[str, object]]]
) -> None:
    """Writes latest.md and latest.json, the latter with every single load."""
    folder.mkdir(exist_ok=True)
    (folder / "latest.md").write_text(as_markdown(rows, facts), encoding="utf-8")
    record = {
        "conditions": facts,
        "rows": [asdict(row) | {"mark": row.mark} for row in rows],
        "loads": loads,
    }
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / "latest.json").write_text(text + "\n", encoding="utf-8")


def _notes(rows: list[Row], facts: dict[str, str]) -> list[str]:
    """The conditions on one line each, then the faults."""
    faults = dict.fromkeys(f"FAULT: {row.fault}" for row in rows if row.fault)
    return [*(f"{name}: {value}" for name, value in facts.items()), *faults]


def _cpu_model() -> str:
    """The processor's name as the kernel gives it."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found.group(1) if found else platform.machine()
