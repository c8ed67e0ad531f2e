"""Starts and stops what a run needs on loopback: the mock upstream, nginx and the gateway."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
BUILD = HERE / "build"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE")

NGINX_CONFIG = """\
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 1024;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""


class BenchError(Exception):
    """A run that cannot be made, with the line to print."""


@dataclass(frozen=True)
class Server:
    """One process under measurement or beside it."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str] | None = None
    """What a gateway was started with, for commands beside it."""

    @property
    def pid(self) -> int:
        """The root of the server's process tree."""
        return self.process.pid

    def stop(self) -> None:
        """Ends the process, by force when it does not leave in time."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run_command(self, *arguments: str) -> str:
        """Runs one of the gateway's commands with the server's settings; returns what it printed."""
        command = [sys.executable, "-m", "backend", *arguments]
        done = subprocess.run(
            command, cwd=self.log.parent, env=self.environment, check=False, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise BenchError(f"{' '.join(arguments[:2])} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def get_json(self, path: str) -> dict[str, object]:
        """Answers one GET as a JSON object."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer: dict[str, object] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines the server wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def build_tools() -> None:
    """Compiles the mock and the load generator where their sources are newer."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    newest = max(source.stat().st_mtime for source in HERE.glob("*.[ch]"))
    BUILD.mkdir(exist_ok=True)
    for name in ("mock_upstream", "loadgen"):
        binary = BUILD / name
        if binary.exists() and binary.stat().st_mtime >= newest:
            continue
        if compiler is None:
            raise BenchError("a C compiler is missing: apt-get install gcc libc6-dev")
        command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(binary), str(HERE / f"{name}.c")]
        if subprocess.run(command, check=False).returncode != 0:
            raise BenchError(f"{name}.c does not compile")


def start_mock(folder: Path) -> Server:
    """Starts the mock upstream."""
    port = free_port()
    return _start("mock", port, [str(BUILD / "mock_upstream"), str(port)], folder, "/stats")


def find_nginx() -> str:
    """The nginx binary, which Debian keeps off an ordinary user's PATH."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise BenchError("nginx is missing: apt-get install nginx-light")
    return binary


def start_nginx(folder: Path, upstream: int) -> Server:
    """Starts nginx with one worker that passes bytes through to the mock."""
    port = free_port()
    home = folder / "nginx"
    home.mkdir()
    config = home / "nginx.conf"
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    config.write_text(NGINX_CONFIG.format(user=user, folder=home, upstream=upstream, port=port))
    command = [find_nginx(), "-p", str(home), "-e", "stderr", "-c", str(config)]
    return _start("nginx", port, command, folder, "/stats")


def start_gateway(folder: Path, route: str, settings: dict[str, str]) -> Server:
    """Starts the gateway with one upstream and no other setting of the caller's environment."""
    port = free_port()
    home = folder / route
    home.mkdir()
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {
        "PYTHONPATH": str(REPOSITORY),
        "LOG_LEVEL": "WARNING",
        "GATEWAY_DATA_DIR": str(home / "data"),
        "GATEWAY_METRICS__PORT": str(free_port()),
    }
    environment |= settings
    # The first start of a version makes the tables and keeps what it loaded for that; every other start is measured.
    migrate = [sys.executable, "-m", "backend", "migrate"]
    done = subprocess.run(migrate, cwd=home, env=environment, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise BenchError(f"the gateway's tables were not made: {done.stderr.strip()}")
    command = [sys.executable, "-m", "backend", "serve", "--host", "127.0.0.1", "--port", str(port)]
    return _start(f"gateway ({route})", port, command, home, "/healthz", environment)


def _start(
    name: str,
    port: int,
    command: list[str],
    folder: Path,
    health: str,
    environment: dict[str, str] | None = None,
) -> Server:
    """Starts a process in `folder` and waits until it answers `health` with 200."""
    log = folder / f"{name.split(maxsplit=1)[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    server = Server(name, port, process, log, environment)
    try:
        _wait_until_healthy(server, health)
    except BaseException:
        server.stop()
        raise
    return server


def _wait_until_healthy(server: Server, path: str) -> None:
    """Polls `path` until it answers 200, the process ends or the time is up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            if connection.getresponse().status == http.HTTPStatus.OK:
                connection.close()
                return
        connection.close()
        time.sleep(0.05)
    raise BenchError(f"{server.name} did not start:\n{server.log_tail()}")
