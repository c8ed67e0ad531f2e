"""Checks that each part of the code is covered as far as it must be; run after the tests."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FLOORS = {"backend/wire/": 90.0, "backend/llm/": 90.0, "backend/": 85.0}


def measured(report: dict[str, dict[str, dict[str, dict[str, int]]]], prefix: str) -> float:
    """Return the percentage of lines and branches under `prefix` that ran."""
    files = [entry["summary"] for path, entry in report["files"].items() if path.startswith(prefix)]
    total = sum(s["num_statements"] + s["num_branches"] for s in files)
    covered = sum(s["covered_lines"] + s["covered_branches"] for s in files)
    return 100.0 * covered / total if total else 0.0


def main() -> int:
    """Print each part's coverage beside its floor; return 1 when one is below."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coverage.json")
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(path)], check=True)
        report = json.loads(path.read_text(encoding="utf-8"))
    results = {prefix: measured(report, prefix) for prefix in FLOORS}
    for prefix, percent in results.items():
        sys.stdout.write(f"coverage of {prefix:<14} {percent:5.1f} % (at least {FLOORS[prefix]:.0f} %)\n")
    return 0 if all(results[prefix] >= floor for prefix, floor in FLOORS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
