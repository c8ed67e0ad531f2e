"""What a request shows of its caller, whatever carries it."""

import base64
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import InvalidRequest
from backend.features.auth.credentials import PLACEHOLDERS, SignedRequest, read_credential, shows_key_in_query
from backend.features.auth.service import MIN_KEY_LENGTH
from backend.web.path_key import PATH_KEY
from tests.fakes.cli_identity import CliIdentity

KEY = "k3y-with-enough-characters"
OTHER = "another-key-of-some-length"
CLI = CliIdentity()


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def scope_of(*headers: tuple[str, str], path_key: str | None = None, query: bytes = b"") -> dict[str, Any]:
    return {
        "method": "POST",
        "path": "/api/show",
        "raw_path": b"/api/show",
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "extensions": {} if path_key is None else {PATH_KEY: path_key},
    }


CARRIERS = [
    [("authorization", f"Bearer {KEY}")],
    [("authorization", f"bearer {KEY}")],
    [("authorization", f"BEARER   {KEY} ")],
    [("x-api-key", KEY)],
    [("x-api-key", f" {KEY} ")],
    [("authorization", basic(f"anybody:{KEY}"))],
    [("authorization", basic(f":{KEY}"))],
    [("authorization", basic(f"x:{KEY}").replace("Basic", "bAsIc"))],
    [("authorization", f"Bearer {KEY}"), ("x-api-key", KEY)],
    [("authorization", f"Bearer {KEY}"), ("authorization", basic(f"x:{KEY}"))],
]


@pytest.mark.parametrize("headers", CARRIERS, ids=str)
def test_every_carrier_shows_the_same_key(headers: list[tuple[str, str]]) -> None:
    assert read_credential(scope_of(*headers)) == KEY
    assert read_credential(scope_of(*headers, path_key=KEY)) == KEY


def test_a_key_in_the_path_needs_no_header() -> None:
    assert read_credential(scope_of(path_key=KEY)) == KEY


@pytest.mark.parametrize("placeholder", ["", *sorted(PLACEHOLDERS), "EMPTY", "Ollama", "sk-no-key-required"])
def test_what_clients_send_where_there_is_no_key_counts_as_nothing(placeholder: str) -> None:
    headers = [
        ("authorization", f"Bearer {placeholder}"),
        ("authorization", basic(f"ollama:{placeholder}")),
        ("x-api-key", placeholder),
    ]
    assert read_credential(scope_of(*headers)) is None
    assert read_credential(scope_of(*headers, path_key=KEY)) == KEY


def test_no_accepted_key_can_be_taken_for_a_placeholder() -> None:
    assert all(len(word) < MIN_KEY_LENGTH and word == word.lower() for word in PLACEHOLDERS)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", KEY)],
        [("authorization", f"Digest username={KEY}")],
        [("authorization", f"{KEY}:{KEY}")],
        [("authorization", basic("only-a-user-name"))],
        [("cookie", f"key={KEY}")],
        [("api-key", KEY)],
        [("proxy-authorization", f"Bearer {KEY}")],
    ],
    ids=str,
)
def test_nothing_else_is_a_credential(headers: list[tuple[str, str]]) -> None:
    assert read_credential(scope_of(*headers, query=f"api_key={KEY}&token={KEY}".encode())) is None


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Basic %%%")],
        [("authorization", "Basic /////w==")],
        [("authorization", "Basic " + "A" * 100_000)],
        [("x-api-key", "x" * 100_000)],
        [("authorization", "Bearer " + "x" * 100_000)],
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_what_can_be_nobodys_is_not_taken_for_nothing(headers: list[tuple[str, str]]) -> None:
    assert read_credential(scope_of(*headers)) == ""
    with pytest.raises(InvalidRequest):
        read_credential(scope_of(*headers, path_key=KEY))


def test_a_malformed_key_in_the_path_is_not_taken_for_nothing() -> None:
    assert read_credential(scope_of(path_key="")) == ""


@pytest.mark.parametrize(
    ("headers", "path_key"),
    [
        ([("authorization", f"Bearer {KEY}"), ("x-api-key", OTHER)], None),
        ([("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {OTHER}")], None),
        ([("x-api-key", KEY), ("x-api-key", OTHER)], None),
        ([("authorization", basic(f"x:{OTHER}"))], KEY),
        ([("x-api-key", OTHER)], KEY),
        ([("x-api-key", OTHER)], ""),
        ([("authorization", CLI.authorization("POST", "/api/show", 1))], KEY),
    ],
    ids=str,
)
def test_two_credentials_that_differ_are_refused_and_not_repeated(
    headers: list[tuple[str, str]], path_key: str | None
) -> None:
    with pytest.raises(InvalidRequest, match="two different credentials") as caught:
        read_credential(scope_of(*headers, path_key=path_key))
    assert KEY not in caught.value.message
    assert OTHER not in caught.value.message


def test_a_signed_request_is_read_with_what_was_signed() -> None:
    header = ("authorization", CLI.authorization("POST", "/api/show", 1_700_000_000))
    signed = read_credential(scope_of(header, query=b"ts=1700000000"))
    assert isinstance(signed, SignedRequest)
    assert (signed.public_key, signed.seconds) == (CLI.public_key, 1_700_000_000)
    assert signed.message == b"POST,/api/show?ts=1700000000"
    assert len(signed.signature) == 64


@pytest.mark.parametrize(
    "query", [b"", b"ts=", b"ts=1&x=2", b"ts=-1", b"ts=1.5", b"ts=1&ts=1", b"TS=1", b"ts=" + b"9" * 20]
)
def test_a_signed_request_has_one_time_and_no_other_parameter(query: bytes) -> None:
    header = ("authorization", CLI.authorization("POST", "/api/show", 1))
    signed = read_credential(scope_of(header, query=query))
    assert isinstance(signed, SignedRequest)
    assert signed.seconds is None


@pytest.mark.parametrize(
    "query", [b"api_key=x", b"a=1&KEY=x", b"access_token", b"token=", b"api%5Fkey=x", b"x-api-key=1"]
)
def test_a_key_in_the_query_is_noticed(query: bytes) -> None:
    assert shows_key_in_query(query)


@pytest.mark.parametrize("query", [b"", b"ts=1", b"limit=5&after=key", b"monkey=1", b"%ff%fe&=&;"])
def test_an_ordinary_query_is_none(query: bytes) -> None:
    assert not shows_key_in_query(query)


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)), st.binary())
def test_whatever_is_sent_is_read_or_refused_in_words(authorization: str, key: str, query: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        read_credential(scope_of(("authorization", authorization), ("x-api-key", key), query=query))
    shows_key_in_query(query)
