"""Turns tell their text and images, and errors their status."""

import inspect

import pytest

from backend.core.errors import GatewayError
from backend.llm import errors
from backend.llm.types import ImagePart, Message, Role, TextPart

IMAGE = ImagePart("AAAA", "image/png")


@pytest.mark.parametrize(
    ("role", "text"), [("user", "a\nb"), ("system", "a\nb"), ("tool", "a\nb"), ("assistant", "ab")]
)
def test_a_turn_joins_its_text_and_keeps_its_images_in_order(role: Role, text: str) -> None:
    turn = Message(role, (TextPart("a"), IMAGE, TextPart("b"), IMAGE))
    assert turn.text == text
    assert turn.images == (IMAGE, IMAGE)
    assert Message("user").text == ""


ERRORS = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, GatewayError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_message_and_a_failing_status(kind: type[GatewayError]) -> None:
    parameters = inspect.signature(kind).parameters
    error = kind("it broke", **({"retry_after": 2.0} if "retry_after" in parameters else {}))
    assert error.message == str(error) == "it broke"
    assert 400 <= error.status <= 599
    assert error.status != 401


@pytest.mark.parametrize(
    ("kind", "retriable"),
    [
        (errors.ProviderRateLimited, True),
        (errors.ProviderUnavailable, True),
        (errors.ProviderUnreachable, True),
        (errors.ProviderBadGateway, True),
        (errors.ProviderFailed, False),
        (errors.ProviderDisconnected, False),
        (errors.ProviderTimeout, False),
        (errors.ProviderProtocolError, False),
        (errors.ProviderRejected, False),
    ],
)
def test_only_what_did_no_work_is_tried_again(kind: type[errors.ProviderError], retriable: bool) -> None:
    assert kind.retriable is retriable


def test_a_refusal_tells_which_fields() -> None:
    error = errors.ProviderRejected("no", code="3001", fields=frozenset({"top_k"}))
    assert (error.code, error.fields, error.counts_against_backend) == ("3001", {"top_k"}, False)
