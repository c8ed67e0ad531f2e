"""Structured logs: one line per event, fields by name, never a prompt, a key or a header.

Log calls carry a constant event name and fields from a closed vocabulary (`request_id`, `route`, `status`, `backend`,
`model`, `ms`, ...). Everything else that logs (uvicorn, libraries) goes through the same renderer. A last filter masks
what looks like a credential, in case a library's message holds one.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

from backend.core.secrets import mask

_NOISY = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "aiohttp": logging.WARNING, "asyncio": logging.WARNING,
          "python_multipart": logging.ERROR}  # fmt: skip
"""Libraries that log more than an operator needs, and from where on they may; the last warns of every form it refuses,
whose sender is told anyway."""

Logger = structlog.stdlib.BoundLogger


def get_logger(name: str) -> Logger:
    """Return the logger of a module."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def silent_logger() -> logging.Logger:
    """Return a logger for libraries that would log what callers send."""
    silent = logging.getLogger("passerelle.silent")
    silent.disabled = True
    return silent


def configure_logging(level: str, style: Literal["auto", "text", "json"]) -> None:
    """Send all logs of this process to standard error in one form."""
    as_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    to_text: list[structlog.typing.Processor] = [
        _quote_controls,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]
    rendering = to_text if as_text else [structlog.processors.JSONRenderer()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, lowest in _NOISY.items():
        logging.getLogger(name).setLevel(max(lowest, root.level))


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = mask(value)
    return event


def _quote_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Show line ends and terminal sequences instead of sending them; JSON escapes them anyway."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = ascii(value)
    return event
