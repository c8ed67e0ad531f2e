"""Who comes back from a login provider is who was sent there, once and within ten minutes."""

import pytest

from backend.core.errors import NotAuthenticated
from backend.features.accounts import login_tickets
from backend.features.accounts.login_tickets import LIFETIME_SECONDS, LoginTickets

KEY = b"0f9c2b7a5d3e8146a0b1c2d3e4f50617"


class Now:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_ticket_comes_back_as_it_was_and_its_cookie_holds_no_secret_of_it() -> None:
    tickets = LoginTickets(KEY)
    ticket, cookie = tickets.issue()
    assert ticket.nonce not in cookie
    assert ticket.verifier not in cookie
    assert 43 <= len(ticket.verifier) <= 128, "what PKCE asks for"
    assert tickets.redeem(cookie, ticket.state) == ticket


def test_tickets_have_nothing_in_common() -> None:
    tickets = LoginTickets(KEY)
    made = [tickets.issue()[0] for _ in range(20)]
    values = [value for ticket in made for value in (ticket.state, ticket.nonce, ticket.verifier)]
    assert len(set(values)) == 60


def test_a_ticket_works_once() -> None:
    tickets = LoginTickets(KEY)
    ticket, cookie = tickets.issue()
    tickets.redeem(cookie, ticket.state)
    with pytest.raises(NotAuthenticated, match="begin again"):
        tickets.redeem(cookie, ticket.state)


def test_a_ticket_is_good_for_ten_minutes() -> None:
    clock = Now()
    tickets = LoginTickets(KEY, clock)
    ticket, cookie = tickets.issue()
    clock.now += LIFETIME_SECONDS
    with pytest.raises(NotAuthenticated):
        tickets.redeem(cookie, ticket.state)


def test_nothing_but_our_own_cookie_for_this_state_is_taken() -> None:
    tickets = LoginTickets(KEY)
    ticket, cookie = tickets.issue()
    other, other_cookie = tickets.issue()
    state, until, signature = cookie.split(".")
    _, foreign = LoginTickets(b"x" * 32).issue()
    later = f"{state}.{int(until) + 9}.{signature}"
    for wrong in ("", "..", "a.b", later, foreign, other_cookie, "\udc80.1.\udc80", "\u00e9.\u00e9.\u00e9", "x" * 300):
        with pytest.raises(NotAuthenticated):
            tickets.redeem(wrong, ticket.state)
    for wrong in ("", "\u00e9", "\udc80", other.state, "x" * 300):
        with pytest.raises(NotAuthenticated):
            tickets.redeem(cookie, wrong)
    assert tickets.redeem(cookie, ticket.state) == ticket


def test_the_memory_of_used_tickets_is_bounded_and_forgets_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_tickets, "_MOST_USED", 3)
    clock = Now()
    tickets = LoginTickets(KEY, clock)
    for _ in range(5):
        ticket, cookie = tickets.issue()
        tickets.redeem(cookie, ticket.state)
    assert len(tickets._used) == 3
    clock.now += LIFETIME_SECONDS
    ticket, cookie = tickets.issue()
    tickets.redeem(cookie, ticket.state)
    assert len(tickets._used) == 1
