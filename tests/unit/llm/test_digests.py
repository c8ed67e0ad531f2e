"""Only what fits the grammar is ever a digest, because digests become paths."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.digests import parse_digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha256-{HEX}", f"sha256:{HEX.upper()}"])
def test_every_spelling_of_a_digest_is_sent_on_in_one(text: str) -> None:
    assert str(parse_digest(text)) == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"SHA256:{HEX}",
        f"sha256_{HEX}",
        f"sha512:{HEX}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-1]}٣",
        "sha256:../../../../etc/passwd",
        f"sha256:{'../' * 21}a",
        f"../sha256:{HEX}",
    ],
)
def test_what_is_not_a_digest_is_none(text: str) -> None:
    assert parse_digest(text) is None


@given(st.text(alphabet="sha256:-/.\\0fF\n%", max_size=80) | st.text())
def test_whatever_is_accepted_holds_nothing_but_a_name_and_hex(text: str) -> None:
    digest = parse_digest(text)
    assert digest is None or re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest))
