"""Error statuses of upstreams: the right class, the right status, no secret."""

import email.utils
import json
import time
from pathlib import Path

import pytest

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
from backend.providers.status import MAX_RETRY_AFTER, raise_for_status, retry_after

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = sorted(GOLDEN.glob("*/errors/*"))
SECRET = "sk-AbCdEf0123456789"  # noqa: S105 (a canary)
DATE = "Wed, 21 Oct 2015 07:28:00"

BY_STATUS: dict[int, type[ProviderError]] = {
    400: ProviderRejected,
    401: ProviderAuthFailed,
    402: ProviderDenied,
    403: ProviderDenied,
    404: ModelNotFound,
    422: ProviderRejected,
    429: ProviderRateLimited,
    500: ProviderFailed,
    501: ProviderFailed,
    503: ProviderUnavailable,
    520: ProviderBadGateway,
}
BY_NAME: dict[str, type[ProviderError]] = {
    "400-context-too-long": ContextTooLong,
    "400-llamacpp-context": ContextTooLong,
    "400-openai-context": ContextTooLong,
    "400-vllm-context": ContextTooLong,
    "400-invalid-model": ModelNotFound,
    "429-tier-capacity": ProviderRateLimited,
}


def error_for(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        raise_for_status("lab", status, headers or {}, body, "LAB_KEY")
    return caught.value


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-3]}/{file.stem}")
def test_every_known_error_body_has_its_class(file: Path) -> None:
    status = int(file.stem.partition("-")[0])
    error = error_for(status, file.read_bytes())
    assert type(error) is BY_NAME.get(file.stem, BY_STATUS[status])
    assert "\n" not in error.message
    assert "<html" not in error.message.lower()
    if isinstance(error, ProviderRejected):
        expected = json.loads((file.parents[1] / "errors.expected.json").read_text())[file.name]
        assert expected["contains"][:400] in error.message
        assert error.code == (expected["code"] or "")


def test_there_are_golden_errors_of_several_upstreams() -> None:
    assert len(FILES) > 40


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": "x"}},
        {"message": f"bad Bearer {SECRET}"},
        {"detail": f"api_key={SECRET} is wrong"},
        {"message": f"blocked by a guardrail: {SECRET}"},
        {"detail": [{"loc": ["body", "x"], "msg": f"got {SECRET}"}]},
    ],
)
def test_no_secret_of_an_error_body_is_told(status: int, body: object) -> None:
    error = error_for(status, json.dumps(body).encode())
    assert SECRET not in error.message
    assert SECRET[3:] not in error.message


@pytest.mark.parametrize(
    ("status", "kind", "ours"),
    [
        (100, ProviderProtocolError, 502),
        (204, ProviderProtocolError, 502),
        (302, ProviderProtocolError, 502),
        (400, ProviderRejected, 400),
        (401, ProviderAuthFailed, 502),
        (402, ProviderDenied, 403),
        (403, ProviderAuthFailed, 502),
        (404, ModelNotFound, 404),
        (405, ProviderProtocolError, 502),
        (413, ProviderRejected, 400),
        (418, ProviderProtocolError, 502),
        (422, ProviderRejected, 400),
        (429, ProviderRateLimited, 429),
        (500, ProviderFailed, 502),
        (502, ProviderBadGateway, 502),
        (503, ProviderUnavailable, 503),
        (504, ProviderBadGateway, 502),
        (520, ProviderBadGateway, 502),
        (599, ProviderFailed, 502),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>oops</html>", b"[1]", b"\xff\xfe", b"[" * 50_000])
def test_the_status_alone_decides_when_the_body_says_nothing(
    status: int, kind: type[ProviderError], ours: int, body: bytes
) -> None:
    error = error_for(status, body)
    assert type(error) is kind
    assert error.status == ours
    assert error.message


def test_a_refused_credential_tells_the_operator_where_it_was_set() -> None:
    assert "LAB_KEY" in error_for(401).message


def test_the_words_of_an_internal_error_stay_upstream() -> None:
    assert "Traceback" not in error_for(500, b'{"error":"Traceback (most recent call last)"}').message


def test_refused_fields_are_named() -> None:
    body = b'{"detail":[{"loc":["body","top_k"],"msg":"Extra inputs are not permitted"}]}'
    error = error_for(422, body)
    assert isinstance(error, ProviderRejected)
    assert error.fields == {"top_k"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("3", 3.0),
        (" 2.5 ", 2.5),
        ("-7", 0.0),
        ("61", MAX_RETRY_AFTER),
        ("99999999999999999999", MAX_RETRY_AFTER),
        (f"{DATE} GMT", 0.0),
        (f"{DATE} -0000", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e400", None),
        ("a, b", None),
        (",", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("9" * 5_000, None),
        pytest.param(f"{DATE} +999999999999999999", None, id="a time zone beyond all bounds"),
    ],
)
def test_retry_after_is_read_within_a_minute_or_not_at_all(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_may_be_a_date() -> None:
    headers = {"retry-after": email.utils.formatdate(time.time() + 20, usegmt=True)}
    wait = retry_after(headers)
    assert wait is not None
    assert 17 <= wait <= 20
    assert retry_after({}) is None


@pytest.mark.parametrize("status", [429, 503])
def test_the_upstreams_pause_is_passed_on(status: int) -> None:
    assert error_for(status, b"", {"retry-after": "4"}).retry_after == 4
