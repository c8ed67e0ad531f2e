"""Turns an upstream's error status into what the caller is told: by status first, then by the body's code."""

import email.utils
import math
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import NoReturn

from backend.llm.errors import (
    ContextTooLong,
    ModelNotFound,
    ProviderAuthFailed,
    ProviderBadGateway,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)
from backend.wire.openai.errors import ErrorBody, describe_status, read_error

MAX_RETRY_AFTER = 60.0
_UNKNOWN_MODEL_CODES = frozenset({"1500"})
_DENIED_CODES = frozenset({"1910", "1913", "3201"})
_BUSY_CODES = frozenset({"3505", "1100"})
_REJECTED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN})
_FROM_A_PROXY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT, 520})


def raise_for_status(backend: str, status: int, headers: Mapping[str, str], body: bytes, key_name: str) -> NoReturn:
    """Raise the `ProviderError` for an answer that is not 200; `key_name` is where the operator set the key."""
    error = read_error(body)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _server_error(backend, status, error, headers)
    if status >= HTTPStatus.BAD_REQUEST:
        raise _client_error(backend, status, error, headers, key_name)
    raise ProviderProtocolError(f"backend {backend!r} answered with {describe_status(status)}; check its base URL")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds an upstream asks to wait, between 0 and a minute; None when it does not say."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = _until(value) if "," in value else float(value)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


def _server_error(backend: str, status: int, error: ErrorBody, headers: Mapping[str, str]) -> ProviderError:
    if status == HTTPStatus.SERVICE_UNAVAILABLE or error.code in _BUSY_CODES:
        wait = retry_after(headers)
        return ProviderUnavailable(f"backend {backend!r} is busy; try again in a moment", retry_after=wait)
    if status in _FROM_A_PROXY:
        return ProviderBadGateway(f"backend {backend!r} is not available ({describe_status(status)}); try again")
    return ProviderFailed(f"backend {backend!r} failed ({describe_status(status)}); try again")


def _client_error(
    backend: str, status: int, error: ErrorBody, headers: Mapping[str, str], key_name: str
) -> ProviderError:
    if status == HTTPStatus.NOT_FOUND or error.code in _UNKNOWN_MODEL_CODES:
        return ModelNotFound("model not found")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ProviderRateLimited(
            f"backend {backend!r} is at its rate limit; try again later", retry_after=retry_after(headers)
        )
    if status in _DENIED:
        return _denial(backend, status, error, key_name)
    if status in _REJECTED:
        return _rejection(backend, status, error)
    return ProviderProtocolError(f"backend {backend!r} answered with {describe_status(status)}")


def _denial(backend: str, status: int, error: ErrorBody, key_name: str) -> ProviderError:
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return ProviderDenied(f"the account behind backend {backend!r} has no budget left; tell its owner")
    is_guardrail = "guardrail" in error.message.lower()
    if status == HTTPStatus.FORBIDDEN and (error.code in _DENIED_CODES or is_guardrail):
        return ProviderDenied(f"backend {backend!r} does not allow this: {error.message}")
    return ProviderAuthFailed(
        f"backend {backend!r} refused the gateway's key; the gateway's operator checks {key_name}"
    )


def _rejection(backend: str, status: int, error: ErrorBody) -> ProviderRejected:
    reason = error.message or describe_status(status)
    if error.is_context_too_long:
        return ContextTooLong(f"the prompt is too long for the model: {reason}", code=error.code)
    return ProviderRejected(f"backend {backend!r} refused the request: {reason}", code=error.code, fields=error.fields)
