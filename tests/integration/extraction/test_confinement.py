"""What reads documents cannot read anything else, nor tell anybody, even when a document has taken it over."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import socket, sys
sys.path.insert(0, {root!r})
from backend.extraction.confinement import confine
print(confine())
def can(what):
    try:
        what()
    except OSError:
        return False
    return True
print(can(lambda: open({secret!r}).close()), can(lambda: open({environment!r}).close()))
print(can(lambda: socket.create_connection(("127.0.0.1", {port}), 1)), can(lambda: open({new!r}, "w").close()))
import email.mime.audio, xml.dom.minidom
print(can(lambda: open("/dev/urandom", "rb").read(1)))
"""


@pytest.fixture
def told(tmp_path: Path) -> list[str]:
    """What a confined process says it can do."""
    (tmp_path / "secret").write_text("a key")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        program = PROGRAM.format(
            root=str(ROOT),
            secret=str(tmp_path / "secret"),
            new=str(tmp_path / "new"),
            environment=f"/proc/{os.getpid()}/environ",
            port=listening.getsockname()[1],
        )
        done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True, env={})
    lines = done.stdout.decode().splitlines()
    if lines[0] != "True":
        pytest.skip("this kernel confines nobody")
    return lines[1:]


def test_neither_files_nor_keys_nor_the_network_are_in_reach(told: list[str]) -> None:
    assert told[:2] == ["False False", "False False"]


def test_what_it_needs_still_is(told: list[str]) -> None:
    assert told[2:] == ["True"]
