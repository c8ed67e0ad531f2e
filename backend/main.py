"""The ASGI entry point: `uvicorn backend.main:create_app --factory`, or better `python -m backend serve`."""

from backend.bootstrap.application import build_application, guard_application
from backend.core.config import Settings, load_settings
from backend.core.logging import configure_logging
from backend.web.path_key import PathKey


def create_app(settings: Settings | None = None) -> PathKey:
    """Return the application for these settings, or for those of the environment."""
    settings = settings or load_settings()
    configure_logging(settings.log_level, settings.log_format)
    return guard_application(build_application(settings), settings)
