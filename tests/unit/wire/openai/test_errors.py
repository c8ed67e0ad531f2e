"""Every error body known of upstreams gives its words, and never a secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.wire.openai.errors import clean, describe_status, error_message, read_error
from tests.unit.wire.transcripts import GOLDEN, load_json

EXPECTED = {
    path.parent / "errors" / name: entry
    for path in sorted(GOLDEN.glob("*/errors.expected.json"))
    for name, entry in load_json(path).items()
}


def test_every_golden_error_is_expected_to_say_something() -> None:
    assert set(EXPECTED) == {path for path in GOLDEN.glob("*/errors/*") if path.is_file()}


@pytest.mark.parametrize(
    ("path", "entry"), EXPECTED.items(), ids=lambda value: value.stem if isinstance(value, Path) else ""
)
def test_a_golden_error_is_read(path: Path, entry: dict[str, Any]) -> None:
    body = read_error(path.read_bytes())
    if entry["contains"]:
        assert entry["contains"] in body.message
    else:
        assert body.message == ""
    assert body.type == (entry["type"] or "")
    assert body.code == (entry["code"] or "")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mistral/errors/422-object-error-3001.json", {"seed"}),
        ("mistral/errors/422-wrapped-detail.json", {"seed", "temperature"}),
        ("mistral/errors/422-plain-detail.json", {"messages"}),
        ("mistral/errors/400-invalid-model.json", set()),
    ],
)
def test_refused_fields_are_named(name: str, fields: set[str]) -> None:
    assert read_error((GOLDEN / name).read_bytes()).fields == fields


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.stem)
def test_a_context_that_is_too_long_is_told_apart(path: Path) -> None:
    assert read_error(path.read_bytes()).is_context_too_long is ("context" in path.stem)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "a"}, "message": "b"}, "a"),
        ({"error": "a", "message": "b"}, "a"),
        ({"message": "a", "detail": "b"}, "a"),
        ({"message": {"detail": [{"loc": ["body", "x", 0], "msg": "m"}]}}, "x.0: m"),
        ({"detail": [{"loc": ["body", "x"], "msg": "m"}, "odd", {"msg": "n"}]}, "x: m; : n"),
        ({"message": [{"loc": ["body", "x"], "msg": "m"}]}, "x: m"),
        ({"detail": "a"}, "a"),
        ({"error": {"message": {"deep": 1}}, "detail": "a"}, "a"),
        ({"error": {"type": "x"}}, ""),
        ({}, ""),
        ([1], ""),
        ("text", ""),
        (None, ""),
    ],
)
def test_the_first_readable_words_win(body: Any, message: str) -> None:
    assert read_error(json.dumps(body).encode()).message == message
    assert error_message(json.dumps(body).encode()) == (message or "no reason given")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 99_999, b'{"error":'])
def test_a_body_that_cannot_be_read_says_nothing(body: bytes) -> None:
    assert read_error(body).message == ""


@given(st.binary(max_size=40) | st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "detail", "loc", "msg", "code", "type"]), inner, max_size=4)).map(lambda v: json.dumps(v).encode()))  # fmt: skip  # noqa: E501
def test_no_body_makes_reading_fail(body: bytes) -> None:
    assert isinstance(read_error(body).message, str)


@pytest.mark.parametrize(
    "text",
    ["key sk-abc123XYZ is bad", "Authorization: Bearer abc.def", "api_key=abc123", "API-KEY: abc123", "gw-abc123"],
)
def test_what_looks_like_a_key_is_masked(text: str) -> None:
    assert "[masked]" in clean(text)
    assert "abc" not in clean(text)


def test_words_are_put_on_one_line_and_cut() -> None:
    assert clean(" a\n\tb ") == "a b"
    assert len(clean("x" * 10_000)) < 600


@pytest.mark.parametrize(("status", "text"), [(404, "404 Not Found"), (520, "520"), (200, "200 OK")])
def test_a_status_is_told_with_its_phrase(status: int, text: str) -> None:
    assert describe_status(status) == text
