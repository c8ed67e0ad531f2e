"""Logs: one line per event whatever its fields hold, and no credential."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from backend.core.errors import InvalidRequest
from backend.core.logging import configure_logging, get_logger
from backend.core.secrets import mask
from backend.wire.multipart import read_form

SECRET = "sk-AbCdEf0123456789"  # noqa: S105 (a canary)
NASTY = ["a\nb", "a\r\nb", "a\x1b[31mred", "a\u2028b\u2029c\u0085d", 'a"b\\c', "\x00", "é😀", "\udcff"]


class Log:
    """What was written to standard error."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self) -> list[dict[str, object]]:
        assert self.text.endswith("\n")
        return [json.loads(line) for line in self.text[:-1].split("\n")]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Log as JSON into memory, and put everything back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("DEBUG", "json")
    yield Log(stream)
    root.handlers[:], config = before[0], before[2]
    root.setLevel(before[1])
    structlog.configure(**config)


@pytest.mark.parametrize("value", NASTY, ids=ascii)
def test_one_event_is_one_line_and_its_fields_come_back_as_they_were(log: Log, value: str) -> None:
    get_logger("one.module").info("something_happened", backend=value)
    [line] = log.lines()
    assert (line["event"], line["backend"], line["level"]) == ("something_happened", value, "info")
    assert line["logger"] == "one.module"
    assert log.text.isascii()


def fail(text: str) -> None:
    raise ValueError(text)


def test_a_traceback_is_a_field_of_the_same_line(log: Log) -> None:
    try:
        fail(f"boom\n{SECRET}")
    except ValueError:
        get_logger("one.module").exception("it_broke")
    [line] = log.lines()
    assert "Traceback" in str(line["exception"])
    assert SECRET not in log.text


def test_libraries_log_through_the_same_form(log: Log) -> None:
    logging.getLogger("uvicorn.error").warning("from a library\nwith %s and Bearer %s", "two lines", "abcdef")
    [line] = log.lines()
    assert line["event"] == "from a library\nwith two lines and [masked]"
    assert line["level"] == "warning"


def test_a_librarys_traceback_is_on_its_line_too_and_masked(log: Log) -> None:
    try:
        fail(SECRET)
    except ValueError:
        logging.getLogger("uvicorn.error").exception("failed")
    [line] = log.lines()
    assert "Traceback" in str(line["exception"])
    assert SECRET not in log.text


def test_the_request_id_is_on_every_line_of_its_request(log: Log) -> None:
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        get_logger("one.module").info("a")
        logging.getLogger("uvicorn.error").info("b")
    get_logger("one.module").info("c")
    assert [line.get("request_id") for line in log.lines()] == ["abc", "abc", None]


def test_levels_count_and_chatty_libraries_are_kept_quiet(log: Log) -> None:
    for name in ("httpx", "aiohttp.client", "asyncio"):
        logging.getLogger(name).debug("noise with %s", SECRET)
    with pytest.raises(InvalidRequest):
        read_form("multipart/form-data; boundary=b", b"--c")
    configure_logging("WARNING", "json")
    get_logger("one.module").info("quiet")
    assert log.text == ""


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"x={SECRET},",
        "Bearer abc.def-123",
        "bearer  xyz",
        "gw-abcdefgh12",
        "pk-live_abcdefgh",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "Basic dXNlcjpwYXNzd29yZDE=",
        "access_token=abc123",
        f"{'A' * 68}:{'B' * 86}==",
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str) -> None:
    masked = mask(f"before {text} after")
    assert text not in masked
    assert "[masked]" in masked
    assert masked.startswith("before ")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/k/0f9c2b7a5d3e8146/api/tags", "/k/[masked]/api/tags"),
        ('GET "/k/0f9c2b7a5d3e8146"', 'GET "/k/[masked]"'),
        ("https://gw.example/k/0f9c2b7a5d3e8146?x", "https://gw.example/k/[masked]?x"),
        ("http://user:word@host/x", "http://[masked]host/x"),
    ],
)
def test_what_stands_around_a_credential_in_an_address_can_still_be_read(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "basic information",
        "/k/x",
        "https://host/a@b",
        "a risk/kind",
        "task-manager",
        "a risk-free disk-based desk-lamp",
        "the bearer",
        "ask-me",
        "sk-",
    ],
)
def test_ordinary_words_are_left_alone(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("value", ["a\nb", "a\x1b[31mred"], ids=ascii)
def test_text_for_people_keeps_one_event_on_one_line_too(log: Log, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("INFO", "text")
    get_logger("one.module").info("something_happened", backend=value)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert log.text == ""
