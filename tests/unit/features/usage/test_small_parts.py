"""Prices, reservations, windows and tables: the parts of the ledger that need no store."""

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.config import load_settings
from backend.core.errors import ConfigurationError, InvalidRequest
from backend.features.usage.entries import Entry, Limit, Refusal
from backend.features.usage.prices import Price, PriceList, amount
from backend.features.usage.reservation import answer_bound, end_of_day, exceeded, reservation
from backend.features.usage.windows import Windows, keys_of
from backend.llm.names import parse_name
from backend.llm.presets import Preset
from backend.llm.types import ChatRequest, EmbedRequest, Sampling, TranscriptionRequest
from backend.web.csv import write_rows

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
LARGE, SMALL, ALL = Price(Decimal(2), Decimal(6)), Price(Decimal("0.1"), Decimal("0.3")), Price(Decimal(1), Decimal(1))
PRICES = PriceList({"*": ALL, "mistral-large*": LARGE, "Mistral-Small-Latest": SMALL}, "EUR")


@pytest.mark.parametrize(
    ("names", "price"),
    [
        (("mistral-large-latest:latest",), LARGE),
        (("MISTRAL-LARGE-2411",), LARGE),
        (("mistral-small-latest:latest",), SMALL),
        (("mistral-small-2603:latest", "mistral-small-latest"), SMALL),
        (("ada/legal:latest", "mistral-large-latest:latest"), LARGE),
        (("llama3.2:1b",), ALL),
    ],
)
def test_a_name_counts_before_a_pattern_and_a_long_pattern_before_a_short_one(
    names: tuple[str, ...], price: Price
) -> None:
    assert PRICES.find(names) is price
    assert PRICES.find(names) is price


def test_what_has_no_price_costs_nothing_anybody_knows() -> None:
    listed = PriceList({"a": SMALL}, "EUR")
    assert listed.cost(("b:latest",), 10, 10) is None
    assert listed.cost(("a:latest",), 0, 0) == 0
    assert PriceList({}, "EUR").cost(("a",), 1, 1) is None


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_costs_are_exact_to_a_millionth(prompt: int, completion: int) -> None:
    cost = SMALL.cost(prompt, completion)
    assert abs(Decimal(cost) - (prompt + completion * 3) / Decimal(10)) <= Decimal("0.5")
    assert Decimal(amount(cost)) * 1_000_000 == cost


def test_amounts_read_as_people_write_them() -> None:
    assert [amount(micro) for micro in (0, 1, 2_500, 1_000_000, 120_000_000)] == ["0", "0.000001", "0.0025", "1", "120"]


def test_prices_are_set_as_json_and_as_yaml(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv(
        "GATEWAY_USAGE__PRICES", '{"mistral-large*": {"input": "2", "output": "6"}, "e": {"input": 0.1}}'
    )
    prices = load_settings(None).usage.prices
    assert (prices["mistral-large*"].output, prices["e"].input, prices["e"].output) == (6, Decimal("0.1"), 0)
    monkeypatch.delenv("GATEWAY_USAGE__PRICES")
    file = tmp_path / "g.yaml"
    file.write_text("usage:\n  currency: USD\n  prices:\n    'a*': {input: 0.4, output: 2}\n", encoding="utf-8")
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    usage = load_settings(None).usage
    assert (usage.currency, usage.prices["a*"].input) == ("USD", Decimal("0.4"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PRICES", '{"a": {"input": "-1"}}'),
        ("PRICES", '{"a": {"input": "NaN"}}'),
        ("PRICES", '{"a": {"output": "1"}}'),
        ("PRICES", '{"a": {"inputs": "1"}}'),
        ("PRICES", "{not json"),
        ("PRICES", "2"),
        ("CURRENCY", "euro"),
        ("USER_TOKENS_PER_DAY", "0"),
    ],
)
def test_prices_that_make_no_sense_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"GATEWAY_USAGE__{name}", value)
    with pytest.raises(ConfigurationError, match="GATEWAY_USAGE"):
        load_settings(None)


def limits(*tokens: int) -> tuple[Limit, ...]:
    return tuple(Limit(f"s{number}", each) for number, each in enumerate(tokens))


@pytest.mark.parametrize(
    ("estimate", "bound", "tokens", "held"),
    [
        (10, 90, (1000,), 100),
        (10, None, (10_000,), 10 + 1024),
        (10, None, (500,), 500),
        (10, None, (5_000, 600), 600),
        (10, 0, (10,), 10),
        (10, None, (10,), 10),
    ],
)
def test_what_is_held_back(estimate: int, bound: int | None, tokens: tuple[int, ...], held: int) -> None:
    assert reservation(estimate, bound, limits(*tokens), 1024) == held


@pytest.mark.parametrize(("estimate", "bound"), [(1001, None), (1001, 5), (10, 991), (1, 10**18)])
def test_what_no_day_has_room_for_is_told_what_to_do(estimate: int, bound: int | None) -> None:
    with pytest.raises(InvalidRequest, match=r"the quota of this key is 1,000 tokens a day.*shorten it"):
        reservation(estimate, bound, limits(1000), 1024)


def test_the_caller_bounds_an_answer_before_the_agent_does() -> None:
    name = parse_name("ada/x")
    assert name is not None
    preset = Preset("p", name, name, NOON, sampling=Sampling(max_tokens=70))
    own = ChatRequest("m", (), sampling=Sampling(max_tokens=50))
    assert answer_bound(own, preset) == 50
    assert answer_bound(replace(own, sampling=Sampling()), preset) == 70
    assert answer_bound(replace(own, sampling=Sampling()), None) is None
    assert answer_bound(EmbedRequest("m", ("a",)), preset) == 0
    assert answer_bound(TranscriptionRequest("m", b"", "a.mp3", "audio/mpeg"), None) is None


def test_who_is_refused_learns_which_quota_and_when_it_is_free() -> None:
    now = datetime(2026, 11, 26, 21, 14, 30, tzinfo=UTC)
    error = exceeded(Refusal(Limit("u", 1000, "user"), 900, 50), 60, now)
    assert error.retry_after == 2 * 3600 + 45 * 60 + 30
    assert error.message == (
        "the quota of your account, 1,000 tokens a day, has no room for this request: 900 used and 50 held for running "
        "requests, about 60 needed; it begins anew at 00:00 UTC, in 2 h 46 min"
    )
    assert end_of_day(now) == datetime(2026, 11, 27, tzinfo=UTC)


def entry(reserved: int, *subjects: tuple[str, int]) -> Entry:
    found = tuple(Limit(name, tokens) for name, tokens in subjects)
    return Entry(NOON, "chat", "m", limits=found, reserved=reserved)


def windows_for(*subjects: str) -> Windows:
    windows = Windows()
    for subject in subjects:
        windows.put((subject, NOON.date()), 0, 0)
    return windows


def state(windows: Windows) -> dict[str, tuple[int, int]]:
    return {key[0]: (window.spent, window.reserved) for key, window in windows.changed()}


def test_both_quotas_hold_a_request_back_or_neither() -> None:
    windows = windows_for("key", "user")
    refusal = windows.reserve(entry(10, ("key", 100), ("user", 9)))
    assert refusal is not None
    assert (refusal.limit.subject, refusal.spent, refusal.reserved) == ("user", 0, 0)
    assert state(windows) == {}


steps = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 80), st.booleans()), max_size=40)


@given(steps)
def test_nothing_is_held_back_at_rest_and_spent_is_what_was_used(requests: list[tuple[int, int, bool]]) -> None:
    windows, running, used = windows_for("k"), list[tuple[Entry, int]](), 0
    for reserved, tokens, ends in requests:
        begun = entry(reserved, ("k", 200))
        before = state(windows).get("k", (0, 0))
        refusal = windows.reserve(begun)
        assert (refusal is None) == (sum(before) + reserved <= 200)
        if refusal is None:
            running.append((begun, tokens))
        if ends and running:
            done, spent = running.pop(0)
            windows.settle(done, spent)
            used += spent
    for done, spent in running:
        windows.settle(done, spent)
        used += spent
    assert state(windows).get("k", (0, 0)) == (used, 0)


def test_windows_that_are_not_there_are_told() -> None:
    begun = entry(1, ("a", 1), ("b", 1))
    assert windows_for("a").missing(keys_of(begun)) == [("b", date(2026, 11, 26))]


def test_a_cell_never_begins_a_formula() -> None:
    written = write_rows([["=1+1", "+1", "-1", "@a", "\tb", "\rc", "a=b", "", 5, -5, uuid.UUID(int=1)]])
    assert written == (b"'=1+1,'+1,'-1,'@a,'\tb,\"'\rc\",a=b,,5,-5,00000000-0000-0000-0000-000000000001\r\n")
