"""`passerelle serve`: runs the server, one process or several."""

import asyncio
import os
import shutil
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from backend.bootstrap.application import build_application
from backend.bootstrap.backends import check_backends
from backend.bootstrap.safety import accepted_keys
from backend.core.config import Settings, load_settings
from backend.core.logging import configure_logging, get_logger
from backend.web.access import AccessLog
from backend.web.protocol import GatewayProtocol

_log = get_logger(__name__)
_KEEPALIVE_SECONDS = 75
_BACKLOG = 2048
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class _DrainingServer(uvicorn.Server):
    """Tells the application at once that the process should stop; uvicorn itself waits for the last connection."""

    def __init__(self, application: FastAPI, **options: Any) -> None:
        super().__init__(uvicorn.Config(AccessLog(application), **options))
        self._application = application

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See `uvicorn.Server.handle_exit`."""
        draining: asyncio.Event | None = getattr(self._application.state, "draining", None)
        if draining is not None:
            draining.set()
        super().handle_exit(sig, frame)


def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve with the settings of the environment and these in their place."""
    settings = _with_arguments(load_settings(), host, port, workers)
    configure_logging(settings.log_level, settings.log_format)
    accepted_keys(settings)
    check_backends(settings)  # both refuse before anything is started
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    server = settings.server
    if server.workers > 1:
        _share_metrics(settings)
    _start_metrics(settings)
    options = _options(settings)
    _log.info("serving", url=f"http://{server.host}:{server.port}", workers=server.workers)
    if server.workers == 1:
        _DrainingServer(build_application(settings), **options).run()
        return
    os.environ["GATEWAY_SERVER__HOST"] = server.host
    os.environ["GATEWAY_SERVER__PORT"] = str(server.port)
    uvicorn.run("backend.main:create_app", factory=True, workers=server.workers, **options)


def _with_arguments(settings: Settings, host: str | None, port: int | None, workers: int | None) -> Settings:
    given = {"host": host, "port": port, "workers": workers}
    update = {name: value for name, value in given.items() if value is not None}
    return settings.model_copy(update={"server": type(settings.server)(**{**settings.server.model_dump(), **update})})


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.server.host,
        "port": settings.server.port,
        "http": GatewayProtocol,
        "ws": "none",
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


def _share_metrics(settings: Settings) -> None:
    """Let all processes write their metrics where the first one collects them."""
    folder = settings.data_dir / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[_MULTIPROCESS] = str(folder)


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
        _log.warning("metrics_not_served", port=settings.metrics.port, reason=str(error))
