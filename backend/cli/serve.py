"""`passerelle serve`: runs the server, one process or several."""

import asyncio
import contextlib
import errno
import os
import socket
import tempfile
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from backend.bootstrap.application import build_application, guard_application
from backend.bootstrap.backends import check_backends
from backend.bootstrap.blobs import s3_place
from backend.bootstrap.recognition import check_recognition
from backend.bootstrap.safety import accepted_keys, check_login_provider, check_workers
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import check_database, prepared
from backend.bootstrap.vectors import check_index
from backend.core.config import Settings, load_settings
from backend.core.errors import ConfigurationError
from backend.core.logging import configure_logging, get_logger
from backend.features.live.connections import MAX_BYTES
from backend.web.protocol import GatewayProtocol, SocketProtocol

_log = get_logger(__name__)
_KEEPALIVE_SECONDS = 75
_BACKLOG = 2048
_NO_REDIS = (
    "live events reach only those connected to the same worker, and each worker counts requests a minute by itself: "
    "set REDIS_URL"
)
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve with the settings of the environment and these in their place."""
    settings = _with_arguments(load_settings(), host, port, workers)
    configure_logging(settings.log_level, settings.log_format)
    accepted_keys(settings)
    check_workers(settings)
    check_login_provider(settings)
    check_backends(settings)
    signing_key(prepared(settings))
    check_index(settings)
    check_recognition(settings)
    s3_place(settings)
    asyncio.run(check_database(settings))  # all of these refuse before anything is started
    server = settings.server
    with contextlib.ExitStack() as stack:
        listener = _listen(server.host, server.port)
        host = f"[{server.host}]" if ":" in server.host else server.host
        _log.info("serving", url=f"http://{host}:{listener.getsockname()[1]}", workers=server.workers)
        if server.workers > 1:
            if settings.redis_url is None:
                _log.warning("workers_share_no_redis", hint=_NO_REDIS)
            # Each process opens the address itself; ours only showed that it is free.
            listener.close()
            os.environ[_MULTIPROCESS] = stack.enter_context(tempfile.TemporaryDirectory(prefix="passerelle-metrics-"))
        _start_metrics(settings)
        if server.workers == 1:
            application = guard_application(build_application(settings), settings)
            uvicorn.Server(uvicorn.Config(application, **_options(settings))).run(sockets=[listener])
            return
        os.environ["GATEWAY_SERVER__HOST"] = server.host
        os.environ["GATEWAY_SERVER__PORT"] = str(server.port)
        uvicorn.run("backend.main:create_app", factory=True, workers=server.workers, **_options(settings))


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; raise `ConfigurationError` that says why it cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise ConfigurationError(f"{host} is not an address of this machine; bind 127.0.0.1 or 0.0.0.0") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"{host}:{port} is in use; stop what listens there, or use another --port"
            ) from None
        raise ConfigurationError(f"{host}:{port} cannot be bound: {(error.strerror or 'error').lower()}") from None
    return listener


def _with_arguments(settings: Settings, host: str | None, port: int | None, workers: int | None) -> Settings:
    given = {"host": host, "port": port, "workers": workers}
    update = {name: value for name, value in given.items() if value is not None}
    return settings.model_copy(update={"server": type(settings.server)(**{**settings.server.model_dump(), **update})})


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.server.host,
        "port": settings.server.port,
        "http": GatewayProtocol,
        "ws": SocketProtocol,
        "ws_max_size": MAX_BYTES,
        "ws_per_message_deflate": False,
        "loop": "uvloop",
        "lifespan": "on",
        "backlog": _BACKLOG,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": True,
        "proxy_headers": False,
        "timeout_keep_alive": _KEEPALIVE_SECONDS,
        "timeout_graceful_shutdown": max(int(settings.server.shutdown_seconds), 1),
    }


def _start_metrics(settings: Settings) -> None:
    """Serve metrics on their own listener; a port that is taken is not worth refusing to start."""
    if not settings.metrics.port:
        return
    try:
        if _MULTIPROCESS in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            start_http_server(settings.metrics.port, settings.metrics.host, registry)
        else:
            start_http_server(settings.metrics.port, settings.metrics.host)
    except OSError as error:
        _log.warning(
            "metrics_not_served", port=settings.metrics.port, hint="set GATEWAY_METRICS__PORT", reason=str(error)
        )
