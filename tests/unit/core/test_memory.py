"""What is loaded at start is set aside, once."""

import gc
import subprocess
import sys

from backend.core.memory import settle_memory

_TOLD = "import gc; from backend.core.memory import settle_memory; settle_memory(); print(gc.get_freeze_count())"


def test_the_collector_never_walks_what_a_process_loaded_at_its_start() -> None:
    told = subprocess.run([sys.executable, "-c", _TOLD], capture_output=True, check=True, timeout=30)
    assert int(told.stdout) > 1_000


def test_a_process_of_tests_sets_nothing_aside_for_its_later_gateways() -> None:
    settle_memory()
    before, kept = gc.get_freeze_count(), [[number] for number in range(1_000)]
    settle_memory()
    assert gc.get_freeze_count() <= before, len(kept)
