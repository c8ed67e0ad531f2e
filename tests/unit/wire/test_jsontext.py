"""JSON is written so that every client can read it, whatever is inside."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.wire.jsontext import encode_json, escape_separators, replace_surrogates

READABLE = st.characters(codec="utf-8")
"""Every character but lone surrogates, which cannot be written as they are."""
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(READABLE, max_size=6)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(READABLE, max_size=4), inner, max_size=3),
)
SURROGATES = st.text(alphabet=st.characters(categories=["Cs", "Ll", "Zl"]), max_size=6)


@given(VALUES)
def test_what_is_written_reads_back_the_same(value: Any) -> None:
    encoded = encode_json(value)
    assert json.loads(encoded) == value
    assert len(encoded.decode().splitlines()) == 1


@given(
    SURROGATES | st.lists(SURROGATES, max_size=2) | st.dictionaries(SURROGATES, SURROGATES | st.integers(), max_size=3)
)
def test_lone_surrogates_never_make_writing_fail(value: Any) -> None:
    assert json.loads(encode_json(value).decode()) == replace_surrogates(value)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"a": 1, "b": [True, None]}, b'{"a":1,"b":[true,null]}'),
        ("é<&>", '"é<&>"'.encode()),
        ("\u2028\u2029\u0085", b'"\\u2028\\u2029\\u0085"'),
        ({"\u2028": 1}, b'{"\\u2028":1}'),
        ("\ud800", '"\ufffd"'.encode()),
        ("\ud83d\ude00", '"\U0001f600"'.encode()),
        (2**63, b"9223372036854775808"),
        (2**70, b"1180591620717411303424"),
        (-(2**70), b"-1180591620717411303424"),
        ({"\ud800": 2**70}, '{"\ufffd":1180591620717411303424}'.encode()),
        ({"\u2028": [2**70, "\ud800"]}, '{"\\u2028":[1180591620717411303424,"\ufffd"]}'.encode()),
        ((1, "a"), b'[1,"a"]'),
        (float("nan"), b"null"),
        ({"a": float("inf"), "b": 2**70}, b'{"a":null,"b":1180591620717411303424}'),
    ],
)
def test_awkward_values_are_written_in_one_line(value: Any, encoded: bytes) -> None:
    assert encode_json(value) == encoded


@pytest.mark.parametrize(
    ("value", "mended"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ({"\udc00": ["\ud800", ("x", 1)]}, {"\ufffd": ["\ufffd", ["x", 1]]}),
        (None, None),
        (1.5, 1.5),
    ],
)
def test_only_lone_surrogates_are_replaced(value: Any, mended: Any) -> None:
    assert replace_surrogates(value) == mended


def test_separators_are_escaped_and_nothing_else() -> None:
    assert escape_separators("a\u2028é".encode()) == "a\\u2028é".encode()
    assert escape_separators("é".encode()) == "é".encode()
